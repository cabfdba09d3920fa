"""An RTSP server for a test, in the system's Python, which has GStreamer's bindings:

    /usr/bin/python3 rtsp_server.py PORT [USER:PASSWORD]

It says "ready" when it listens.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

ENCODER = "x264enc"
PIPELINE = (
    "( videotestsrc is-live=true pattern=ball ! "
    "video/x-raw,format=I420,width=160,height=120,framerate=15/1 ! "
    f"{ENCODER} tune=zerolatency speed-preset=ultrafast key-int-max=15 ! "
    "rtph264pay config-interval=1 name=pay0 pt=96 )"
)

Gst.init(None)
if not Gst.ElementFactory.find(ENCODER):
    sys.exit(f"GStreamer has no {ENCODER}")
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(PIPELINE)
factory.set_shared(True)
if len(sys.argv) > 2:
    user, _, password = sys.argv[2].partition(":")
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("user", "media.factory.access", True)
    permissions.add_permission_for_role("user", "media.factory.construct", True)
    factory.set_permissions(permissions)
server.get_mount_points().add_factory("/live", factory)
server.attach(None)
print("ready", flush=True)
GLib.MainLoop().run()
