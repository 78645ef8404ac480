"""Run a result again and say whether it came back.

`originals` finds what is meant, `data` verifies its inputs, `preflight` says what else is not as it
was, `rerun` runs, `judgement` compares, `conclude` says what comes of it in all, and `use_case` puts these
together.
"""
