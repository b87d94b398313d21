"""How quick a trained network is."""

from __future__ import annotations

import copy

import torch

from featx.data.batch_loader import image_shape
from featx.extraction.benchmark import Timing, time_passes
from featx.extraction.benchmark_config import BenchConfig
from featx.models.backbones import Backbone
from featx.models.parts import channels_last
from featx.training.config import TrainConfig
from featx.training.train import TrainResult


def time_trained(result: TrainResult, network: Backbone, config: TrainConfig) -> Timing:
    """Time the trained network's forward pass as it was trained: batch size, precision, device, image size."""
    device = torch.device(result.device)
    module = channels_last(copy.deepcopy(result.module).to(device))
    shape = torch.Size((config.batch_size, *image_shape(result.scored["train"].source, network.preprocess)))
    return time_passes(module, shape, device, config.precision, BenchConfig.seconds)
