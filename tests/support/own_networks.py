"""Networks of a user's own, as the file that a command is given as ``own.py:NAME``."""

from __future__ import annotations

OWN = """
import torch
from torch import nn

class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.gate = nn.Linear(16, 16)
        self.fc = nn.Linear(16, 7)

    def forward(self, x):
        if min(x.shape[2:]) < 4:  # not to be traced by torch.fx
            raise ValueError("too small")
        x = torch.relu_(self.norm(self.first(x)))
        x = x * torch.sigmoid(self.gate(x.mean((2, 3))))[:, :, None, None]
        return {"logits": self.fc(x.mean((2, 3)))}

class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.base = nn.Sequential(nn.Conv2d(3, 12, 5, padding=2), nn.BatchNorm2d(12), nn.GELU(), nn.MaxPool2d(2))
        self.fc = nn.Linear(12, 5)

    def forward(self, x):
        return self.fc(self.base(x).mean((2, 3)))

def gated():
    return Gated()

def plain():
    return Plain()
"""
"""`gated` branches and is read by hooks, `plain` is traced; both have a linear head `fc`."""
