"""Random sequences of operations on a stack, held against a model in plain Python.

``model`` says what must be there after them, ``world`` does them on a real stack, ``promises``
looks at what is there, and ``sequences`` draws them and shrinks one that fails.
"""
