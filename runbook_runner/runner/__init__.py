"""Runner: the one pipeline that joins the rooms below. RunSpec in, trajectory out; start reading in `pipeline.py`."""
