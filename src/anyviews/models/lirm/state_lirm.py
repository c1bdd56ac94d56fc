"""What LIRM knows of an object: plain tensors that a user can keep and come back with."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ...formats.files import new_file
from .photos_lirm import LIRMPhotos


FORMAT = "lirm-state"


@dataclass(frozen=True)
class LIRMState:
    """The tokens of a batch of objects after an update (T^m and E^m of Eq. 5).

    Args:
        planes: [B, N, C], tokens of the planes.
        panoramas: [B, M, C], tokens of the panoramas; None if the model has none.
        updates: how many sets of photos they have seen.
        photo_maps, photo_cameras: of `LIRMPhotos`; None if the model keeps none.
        evidence: [B, P, 9], what all these photos show at the points of a grid; None if the model does not ask.
    """

    planes: Float[Tensor, "batch plane_tokens width"]
    panoramas: Float[Tensor, "batch panorama_tokens width"] | None = None
    updates: int = 0
    evidence: Float[Tensor, "batch points channels"] | None = None
    photo_maps: Float[Tensor, "batch photos 5 rows columns"] | None = None
    photo_cameras: Float[Tensor, "batch photos 4 3"] | None = None

    def __len__(self) -> int:
        return len(self.planes)

    @property
    def photos(self) -> LIRMPhotos | None:
        """All photos of the objects, if the model keeps them."""
        return None if self.photo_maps is None else LIRMPhotos(self.photo_maps, self.photo_cameras)

    def to(self, device: torch.device | str) -> "LIRMState":
        """The same on another device."""
        return replace(self, **{name: tensor.to(device) for name, tensor in self._tensors().items()})

    def detach(self) -> "LIRMState":
        """The same without its history."""
        return replace(self, **{name: tensor.detach() for name, tensor in self._tensors().items()})

    def _tensors(self) -> dict[str, Tensor]:
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def save(self, path: Path | str, overwrite: bool = False) -> None:
        """Write a .safetensors file.

        Raises:
            ValueError: if the file exists and may not be replaced.
        """
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self._tensors().items()}
        with new_file(path, overwrite) as temporary:
            save_file(tensors, temporary, metadata={"format": FORMAT, "updates": str(self.updates)})

    @classmethod
    def load(cls, path: Path | str, device: torch.device | str = "cpu") -> "LIRMState":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is something else.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no file {path}; LIRMState.save writes one")
        try:
            with safe_open(path, framework="pt", device=str(device)) as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}
        except SafetensorError as error:
            raise ValueError(f"{path} is no .safetensors file ({error}); LIRMState.save writes one") from error
        if metadata.get("format") != FORMAT or "planes" not in tensors:
            raise ValueError(
                f"{path} holds {', '.join(sorted(tensors))} and no state of LIRM; LIRMState.save writes one"
            )
        return cls(updates=int(metadata["updates"]), **tensors)
