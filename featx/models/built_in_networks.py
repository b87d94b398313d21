"""LeNet-5, and the identity that raw pixels go through, as torch runs them. Loads torch."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from featx.models.state_dict import StateDict, read_state


class LeNet5(nn.Module):
    """LeNet-5 (LeCun et al., 1998) for 32 x 32 px, with ReLU and max pooling in place of tanh and means.

    Parameters
    ----------
    num_classes : int
        Outputs of the last layer.
    channels : int
        1 (grey) or 3 (colour).
    """

    def __init__(self, num_classes: int = 10, channels: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 6, 5)  # 32 -> 28 px
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)  # 14 px
        self.conv2 = nn.Conv2d(6, 16, 5)  # 10 px
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)  # 5 px
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(120, 84)
        self.relu4 = nn.ReLU()
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, k) for images of shape (n, C, 32, 32)."""
        x = self.pool1(self.relu1(self.conv1(x)))
        x = self.pool2(self.relu2(self.conv2(x)))
        x = self.relu4(self.fc2(self.relu3(self.fc1(self.flatten(x)))))
        out: torch.Tensor = self.fc3(x)
        return out


class Pixels(nn.Module):
    """The identity; its one node is ``pixels``."""

    def __init__(self) -> None:
        super().__init__()
        self.pixels = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the images as they are."""
        out: torch.Tensor = self.pixels(x)
        return out


def read_lenet5(file: str) -> StateDict:
    """Read the tensors of a file that is meant for LeNet-5."""
    return read_state(Path(file), _names_of_lenet5)


def _names_of_lenet5() -> set[str]:
    with torch.device("meta"):  # draws nothing
        return set(LeNet5().state_dict())
