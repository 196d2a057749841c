"""The Hub as a run's ledger: a branch a run, a commit a checkpoint, pushed beside the training and never waited for by it.

ledger.py knows what is to be pushed and what has been, push.py makes one checkpoint one commit, uploader.py does so in a
process of its own until all is there, pushes.py is what training sees of it. fetch.py reads from the Hub, promote.py makes a
branch the main one, publish.py sends tokenizers and corpora.
"""
