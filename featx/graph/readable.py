"""What can be read of a network at named places, however it is looked into: by its graph, or by hooks."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import nn

from featx.core.specs import LayerSpec
from featx.errors import OptionError, suggest
from featx.graph.pooling import columns
from featx.graph.shapes import Nodes


class Readable(ABC):
    """A network whose activations can be read by name.

    Attributes
    ----------
    note : str
        What the user should know of how they are read; empty for a traced graph.
    """

    note = ""

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of the nodes and module paths, in the order in which they run."""

    @abstractmethod
    def before(self, head: str) -> str:
        """Return the node whose values a module takes, one row an image: the features that a classifier sees.

        Looks through flattening and dropout, which change no value in eval mode: for ResNets that is ``avgpool``,
        whose features are likely to be stored already.

        Raises
        ------
        OptionError
            For a classifier that does not run, or that takes the image itself.
        """

    @abstractmethod
    def ends_with(self, head: str) -> bool:
        """Tell whether what a module gives is what the network returns, unchanged."""

    @abstractmethod
    def base(self, head: str, nodes: Nodes) -> str:
        """Return the last node before a classifier that still has space: where the convolutional base ends.

        A pooling to a fixed grid, as VGG's, ends it: what does not grow with the image is no space.

        Raises
        ------
        OptionError
            For a network without such a node, as vision transformers are.
        """

    @abstractmethod
    def ran_before(self, block: str) -> set[str]:
        """Return the modules and parameters that run before a block, and not again from there on.

        Parameters
        ----------
        block : str
            A module path or a node: where its first node stands, the network is cut in two.

        Raises
        ------
        OptionError
            There is no such block; names the nearest.
        """

    @abstractmethod
    def describe(self, input_shape: tuple[int, int, int], *, whole: bool = True) -> Nodes:
        """Return what each node gives, for one image.

        Parameters
        ----------
        input_shape : tuple of int
            Channels, height, width.
        whole : bool
            Whether all of the network must be able to take such images. Without it, the nodes before the first that
            cannot are returned, and `Nodes.unfit` says why there are no others.

        Raises
        ------
        OptionError
            Where the network, or its first node, cannot take images of that size.
        """

    @abstractmethod
    def cut(
        self, specs: Sequence[LayerSpec], nodes: Nodes, keep: Sequence[LayerSpec] = (), fused: str | None = None
    ) -> nn.Module:
        """Return a network that gives one (n, columns) tensor a spec, in memory of its own.

        Parameters
        ----------
        specs : sequence of LayerSpec
            Wanted, in the order of the result.
        nodes : Nodes
            From `describe`.
        keep : sequence of LayerSpec
            Further nodes to compute as if they were wanted, so that a resumed pass computes as its first start did.
        fused : str, optional
            A precision, to rewrite the network for the CPU with the fused operators of `featx.graph.fused`.
        """

    @abstractmethod
    def check(self, name: str) -> None:
        """Raise OptionError, with the nearest names, for a name that means no node."""

    def default(self, head: str, nodes: Nodes) -> LayerSpec:
        """Return the layer that most users want: what the classifier sees, one value a channel.

        Parameters
        ----------
        head : str
            Dotted name of the classifier.
        nodes : Nodes
            From `describe`.

        Raises
        ------
        OptionError
            Where the network cannot come so far at that size, or begins with its classifier.
        """
        spec = LayerSpec(self.before(head))
        self.columns(spec, nodes)
        info = nodes[spec.node]
        pooled = LayerSpec(spec.node, "avg")
        if info.layout in ("NC", "?") or columns(pooled, info.shape, info.layout, class_token=False) == math.prod(
            info.shape
        ):
            return spec
        return pooled

    def columns(self, spec: LayerSpec, nodes: Nodes) -> int:
        """Return a row's length; OptionError for a node that is no tensor or that the pooling does not fit."""
        self.check(spec.node)
        if spec.node in nodes.unreached:
            raise OptionError(
                f"layer {spec.node!r} is out of reach: {nodes.unfit}", "give another --size, or take an earlier layer"
            )
        if spec.node not in nodes:
            raise OptionError(f"layer {spec.node!r} gives no tensor of one row an image", self._near(spec.node, nodes))
        info = nodes[spec.node]
        return columns(spec, info.shape, info.layout, class_token=info.class_token)

    def _near(self, name: str, nodes: Nodes) -> str:
        """Name the next node that can be had, or the last one before."""
        names = self.names()
        at = names.index(name)
        for near in (*names[at:], *reversed(names[:at])):
            if near in nodes:
                return f"take {near}"
        return "take another layer"


def check_name(name: str, known: Sequence[str], lost: set[str]) -> None:
    """Raise OptionError for a layer that is none of `known`, or whose weights are missing."""
    if name in lost:
        raise OptionError(
            f"layer {name!r} has no weights: the file's classifier does not fit and was left out",
            "take a layer before it",
        )
    if name not in known:
        raise OptionError(
            f"there is no layer {name[:80]!r} in this network",
            suggest(name, known) or "`featx layers BACKBONE` lists them",
        )


def last_in_space(names: Sequence[str], nodes: Nodes) -> str:
    """Return the last of some nodes that grows with the image; see `Readable.base`."""
    for name in reversed(names):
        info = nodes.get(name)
        if info is not None and info.layout in ("NHWC", "NLC"):
            break
        if info is not None and info.layout == "NCHW" and info.grows:
            return info.name
    raise OptionError("the network has no convolutional base", "use --head linear or mlp")


def no_block(block: str, names: Sequence[str]) -> OptionError:
    """Return the error of a block that is not there."""
    return OptionError(
        f"there is no block {block[:80]!r} in this network",
        suggest(block, names) or "`featx layers BACKBONE` lists them",
    )


def fed_by_nothing(head: str) -> OptionError:
    """Return the error of a classifier that takes the image itself, or does not run."""
    return OptionError(
        f"the classifier {head} takes no layer's output", "give the layer that is meant; `featx layers` lists them"
    )
