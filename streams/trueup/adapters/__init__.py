"""The edges of TrueUp: one file per outside system. Foreign exceptions end here, by class."""
