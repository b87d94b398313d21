"""The kinds of files that a model is exported as, by the endings of their names. Loads torch when one is written."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from featx.errors import FeatureError, OptionError

if TYPE_CHECKING:
    from torch import nn

    from featx.data.batch_loader import Shape

Images = npt.NDArray[np.float32]
"""Values in 0..1, (n, C, H, W)."""

Run = Callable[[Images], npt.NDArray[Any]]
"""Gives the logits (n, k) of images."""

Make = Callable[[bool], "nn.Module"]
"""Builds the model anew: with batch norms folded into the convolutions before them, or each as it is."""

INPUT, OUTPUT, BATCH = "image", "logits", "n"
MOST_ONNX_BYTES = (1 << 31) - (1 << 20)
"""What one file of ONNX, a protocol buffer, can hold."""


class Format(Protocol):
    """What writes a model and reads it back, as bytes; a file is made of them once they are known to be right.

    Attributes
    ----------
    packages : tuple of str
        What must be installed.
    """

    packages: tuple[str, ...] = ()

    def pack(self, make: Make, shape: Shape, card: Mapping[str, Any]) -> bytes:
        """Return the file's content.

        Parameters
        ----------
        make : callable
            Builds the model.
        shape : tuple of int
            (C, H, W) of an image.
        card : mapping
            JSON-able; what the file says of itself.

        Raises
        ------
        FeatureError
            The model has operators that the format does not know.
        """

    def opened(self, data: bytes, make: Make) -> Run:
        """Return the model that a file's content holds, run as its users would."""


class Onnx(Format):
    """One ONNX file, by torch's exporter; onnxruntime runs it."""

    packages = ("onnx", "onnxscript", "onnxruntime")

    def pack(self, make: Make, shape: Shape, card: Mapping[str, Any]) -> bytes:
        """See `Format`."""
        import torch
        from onnx.helper import set_model_props

        model = make(True)
        size = sum(value.numel() * value.element_size() for value in model.state_dict().values())
        if size > MOST_ONNX_BYTES:
            raise OptionError(f"the model has {size:,} bytes, and one ONNX file holds 2 GB", "export it as .pt2")
        with exporting("ONNX"):
            program = torch.onnx.export(
                _program(model, shape),
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: BATCH},),  # which names it
                dynamo=True,
                external_data=False,
                verbose=False,
            )
            assert program is not None
            proto: Any = program.model_proto
        classes = json.dumps(card["classes"])
        set_model_props(proto, {"classes": classes, "card": json.dumps(card), "featx": str(card["featx"])})
        proto.producer_name, proto.producer_version = "featx", str(card["featx"])
        for place in (proto.graph, *proto.graph.node):
            del place.metadata_props[:]  # where in whose folders the code of each operator stands
        content: bytes = proto.SerializeToString()
        return content

    def opened(self, data: bytes, make: Make) -> Run:
        """See `Format`."""
        import onnxruntime
        import torch

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

        def run(images: Images) -> npt.NDArray[Any]:
            with exporting("ONNX"):
                (logits,) = session.run([OUTPUT], {INPUT: images})
            return np.asarray(logits)

        return run


class Exported(Format):
    """What `torch.export` makes of it; ``torch.export.load(FILE).module()`` runs it."""

    CARD = "featx.json"

    def pack(self, make: Make, shape: Shape, card: Mapping[str, Any]) -> bytes:
        """See `Format`."""
        import torch

        with exporting("torch.export"):
            content, program = io.BytesIO(), _program(make(True), shape)
            for module in program.graph_module.modules():
                for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
                    node.meta.pop("stack_trace", None)  # where in whose folders its code stands, and the code
            torch.export.save(program, content, extra_files={self.CARD: json.dumps(card)})
        return content.getvalue()

    def opened(self, data: bytes, make: Make) -> Run:
        """See `Format`."""
        import torch

        with exporting("torch.export"):
            return _run_by(torch.export.load(io.BytesIO(data)).module())


class Tensors(Format):
    """The tensors alone, by the network's own names; the card stands in the file's metadata."""

    def pack(self, make: Make, shape: Shape, card: Mapping[str, Any]) -> bytes:
        """See `Format`."""
        from safetensors.numpy import save

        state = make(False).state_dict()
        # A tensor that lies channels last is written in C order, and one that two modules share twice.
        tensors = {name: np.array(value.detach().cpu().numpy(), order="C") for name, value in state.items()}
        return save(tensors, {"featx": json.dumps(card)})

    def opened(self, data: bytes, make: Make) -> Run:
        """See `Format`: the tensors are loaded into the network built anew, where they must all be."""
        import torch
        from safetensors.torch import load

        model = make(False)
        with torch.no_grad():
            for value in model.state_dict().values():
                value.zero_()
        model.load_state_dict(load(data), strict=True)
        return _run_by(model)


FORMATS: dict[str, Format] = {".onnx": Onnx(), ".pt2": Exported(), ".safetensors": Tensors()}
"""By the ending of a file's name."""


def format_of(path: Path) -> Format:
    """Return the format that a file's name means, with what it needs installed.

    Raises
    ------
    OptionError
        For another ending, and for a format whose packages are not installed.
    """
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        *some, last = FORMATS
        raise OptionError(
            f"--output is {path.name}, expected a name ending in {', '.join(some)} or {last}", "for example model.onnx"
        )
    missing = [package for package in kind.packages if find_spec(package) is None]
    if missing:
        raise OptionError(f"ONNX needs what is not installed: {', '.join(missing)}", "pip install 'featx[onnx]'")
    return kind


@contextlib.contextmanager
def exporting(format: str) -> Iterator[None]:
    """Turn what an exporter fails with into one line, and keep its remarks from the user.

    Raises
    ------
    FeatureError
        Something that the exporter does not know.
    """
    try:
        with _quiet():
            yield
    except Exception as exc:  # of torch's passes over the network, and of the network's own code
        cause: BaseException = exc
        while cause.__cause__ is not None:
            cause = cause.__cause__
        said = next((line.strip() for line in str(cause).splitlines() if line.strip()), "")[:160]
        raise FeatureError(
            f"the network cannot be written as {format}: {said or type(cause).__name__}",
            "a .safetensors file holds the tensors of any network",
        ) from exc


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep remarks on torch's own affairs to torch."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _program(model: nn.Module, shape: Shape) -> Any:
    """Return the model as torch.export has it, for any number of images."""
    import torch

    images, number = torch.full((2, *shape), 0.5), {0: torch.export.Dim(BATCH)}
    return torch.export.export(model, (images,), dynamic_shapes=(number,), strict=False)


def _run_by(module: Any) -> Run:
    import torch

    def run(images: Images) -> npt.NDArray[Any]:
        with torch.inference_mode():
            return np.asarray(module(torch.from_numpy(images)))

    return run
