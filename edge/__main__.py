"""`python -m edge` is edge-run."""

from edge.cli import edge_run

if __name__ == "__main__":
    edge_run()
