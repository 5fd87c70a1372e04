"""The verbs of TrueUp, pure: data in, data out. One file per step; `pipeline.py` shows the whole way on one page."""
