"""edge: what runs on the device. NumPy, OpenCV and click; never torch."""
