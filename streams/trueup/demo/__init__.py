"""`trueup demo`: the main job on real servers, with load, kills, a mistake and a story, and every claim checked.

`run` is the whole way on one page; `checks` holds what was promised and what came of it; `summary` shows it. The
demo uses TrueUp as a person would, through its commands; what it shows of data it reads back from the databases.
"""
