"""The operators from their definitions: plain loops, slow, sharing nothing with the fast forms.

The oracle of the tests.
"""
