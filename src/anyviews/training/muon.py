"""Muon for hidden matrices and AdamW for everything else, as one optimiser."""

from collections.abc import Iterable

import torch
from torch import nn


class MuonWithAdamW(torch.optim.Optimizer):
    """torch's Muon and AdamW over the parameters of one model; groups with "muon": True are Muon's.

    One optimiser, because the loop, accelerate and checkpoints have one. Updates of Muon have the size of AdamW's
    ("Muon is Scalable for LLM Training", arXiv 2502.16982, section 2.2), so that learning rates are alike.

    Args:
        groups: parameter groups, each with "params", "weight_decay" and "muon".
        lr: learning rate of all groups that have none of their own.
        betas, eps: of AdamW.
        momentum: of Muon.
    """

    def __init__(
        self,
        groups: Iterable[dict],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        momentum: float = 0.95,
    ):
        groups = list(groups)
        muon = {"lr": lr, "momentum": momentum, "adjust_lr_fn": "match_rms_adamw"}
        kinds = [torch.optim.Muon, torch.optim.AdamW]
        options = [muon, {"lr": lr, "betas": betas, "eps": eps}]
        chosen = [[group for group in groups if group["muon"] == wanted] for wanted in (True, False)]
        # each fills in its own defaults, under which the groups then stand in the common list
        self.parts = [kind(some, **own) for kind, some, own in zip(kinds, chosen, options, strict=True) if some]
        super().__init__([group for part in self.parts for group in part.param_groups], {"lr": lr})
        self._share()

    def _share(self) -> None:
        """Let the parts work on this optimiser's groups and state."""
        for part in self.parts:
            wanted = isinstance(part, torch.optim.Muon)
            part.param_groups = [group for group in self.param_groups if group["muon"] == wanted]
            part.state = self.state

    @torch.no_grad()
    def step(self, closure=None):
        """One update of all parameters that have gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._share()  # loading a state replaces both
        for part in self.parts:
            part.step()
        return loss


def muon_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Parameter groups of `MuonWithAdamW`; weight decay for matrices and kernels, none for biases and norms.

    Muon gets the linear layers of repeated blocks, those in an `nn.ModuleList`. Embeddings and heads are not hidden
    layers, for which Muon is made.

    Raises:
        ValueError: if there are none.
    """
    blocks = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    linears = [module for block in blocks for module in block.modules() if isinstance(module, nn.Linear)]
    chosen = {id(linear.weight) for linear in linears}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trained if id(parameter) in chosen]
    if not matrices:
        raise ValueError("no linear layer of a repeated block is trained; give --optimizer adamw")
    rest = [parameter for parameter in trained if id(parameter) not in chosen]
    return [
        {"params": matrices, "weight_decay": weight_decay, "muon": True},
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": weight_decay, "muon": False},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0, "muon": False},
    ]
