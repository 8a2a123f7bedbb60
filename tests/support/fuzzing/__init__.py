"""Fuzzing of everything that reads a file: see ``__main__.py`` for the command.

::

    case.py      what an input is, and what may come of it
    values.py    changes of documents (JSON and TOML values)
    octets.py    changes of bytes
    parts.py     what targets share: tiny models, tensors by their content
    targets/     one module per kind of input: its bases, its changes, its reading
    judging.py   one input, judged
    running.py   many inputs in forked children, watched
    seeds.py     inputs as files
"""
