"""The web page of a run, live or finished: Starlette and uvicorn in a thread of their own."""
