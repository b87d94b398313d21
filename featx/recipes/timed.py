"""Times the network of a training that had finished before anybody asked how quick it is."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from featx.cache.memo import Memo
from featx.core.run_folder import Run
from featx.data.source import Source
from featx.errors import OptionError


def timed(run: Run, source: Source, device: str, memo: Memo) -> dict[str, Any]:
    """Return a finished training's record with the time of its network's forward pass, and keep it so.

    Parameters
    ----------
    run : Run
        Of a training.
    source : Source
        Of its images, which tell their size.
    device : str
        As it was asked for.
    memo : Memo
        What is remembered of networks.

    Raises
    ------
    OptionError
        The record is of another processor: its table would call one by the other's name.
    StoreError, WeightsError
        The network cannot be had.
    """
    import torch

    from featx.core.device import pick_device, processor_name
    from featx.data.batch_loader import image_shape
    from featx.extraction.benchmark import time_passes
    from featx.extraction.benchmark_config import BenchConfig
    from featx.graph.placing import placed
    from featx.models.parts import channels_last
    from featx.runs.predict import open_predictor
    from featx.runs.predictors import NetworkPredictor

    record, place = run.read(), torch.device(pick_device(device))
    if (here := processor_name(place)) != record.get("processor"):
        raise OptionError(f"run {run.id} is of {record.get('processor')}, and this is {here}", "time it there")
    predictor = open_predictor(run, memo)
    if not isinstance(predictor, NetworkPredictor):
        raise OptionError(f"run {run.id} is a fit, expected a training")
    module = channels_last(placed(predictor.whole, place))
    shape = torch.Size((int(record["batch_size"]), *image_shape(source, predictor.preprocess)))
    timing = time_passes(module, shape, place, predictor.precision, BenchConfig.seconds)
    run.write(record | {"inference": asdict(timing)})
    return run.read()
