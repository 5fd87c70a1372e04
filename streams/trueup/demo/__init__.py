"""`trueup demo`: the main job on real servers, with load, kills, a mistake and a story, every claim checked.

`run` brings up and takes down, `performance` has the acts in their order, `checks` what was promised and what
came of it, `summary` shows it. The demo uses TrueUp as a person would, through its commands; what it shows of
data it has read back from the databases.
"""
