"""The fixed prompts of each view and domain."""

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..strict_loading import StrictLoadingMixin
from .configuration_era3d import VIEW_AZIMUTHS


PROMPT = "a rendering image of 3D models, {view} view, {domain} map."


class Era3DPrompts(StrictLoadingMixin, ModelMixin, ConfigMixin):
    """Prompt embeddings that belong to a checkpoint, so that no text encoder is needed to run it.

    Args:
        num_views: views of an object.
        tokens: of a prompt.
        dim: width of the embeddings.
    """

    @register_to_config
    def __init__(self, num_views: int = 6, tokens: int = 77, dim: int = 1024):
        super().__init__()
        self.normal = nn.Parameter(torch.randn(num_views, tokens, dim))
        self.color = nn.Parameter(torch.randn(num_views, tokens, dim))

    @classmethod
    def from_embeddings(
        cls, normal: Float[Tensor, "views tokens dim"], color: Float[Tensor, "views tokens dim"]
    ) -> "Era3DPrompts":
        """Prompts of known embeddings, of the views of normal maps and of colour images."""
        prompts = cls(*normal.shape)
        prompts.load_state_dict({"normal": normal.float(), "color": color.float()})
        return prompts

    @classmethod
    @torch.no_grad()
    def from_text_encoder(cls, tokenizer: PreTrainedTokenizerBase, text_encoder: PreTrainedModel) -> "Era3DPrompts":
        """Prompts as the released checkpoints have them: last hidden states of the text encoder of their base model.

        Args:
            tokenizer: pads to the length that the text encoder was trained with.
            text_encoder: such as CLIPTextModel.
        """

        def embed(domain: str) -> Tensor:
            texts = [PROMPT.format(view=view, domain=domain) for view in VIEW_AZIMUTHS]
            length = tokenizer.model_max_length
            tokens = tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
            return text_encoder(tokens.input_ids.to(text_encoder.device)).last_hidden_state

        return cls.from_embeddings(embed("normal"), embed("color"))

    def forward(self) -> Float[Tensor, "prompts tokens dim"]:
        """Embeddings of the views of normal maps, then of colour images."""
        return torch.cat([self.normal, self.color])
