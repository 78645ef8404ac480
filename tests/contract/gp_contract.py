"""The Gaussian process against the contract; run by `test_samplers.py` where there is PyTorch."""

from __future__ import annotations

from samplers import SamplerContract


class TestGp(SamplerContract):
    name = "gp"
    trials = 18
    startup = 11
