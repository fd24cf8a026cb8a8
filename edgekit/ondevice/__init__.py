"""What runs on the board: a wing of its own, Python 3.8 and the standard library until numpy and a runtime are asked for.

It ships as one file and imports nothing of edgekit outside this folder. The host imports some of its modules, so that both sides
do the same: `wire` (jobs and events), `preprocess` (the arithmetic), `samples` (the container), `chunks` and `transfer` (what travels).
"""
