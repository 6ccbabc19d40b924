"""transformers' own CLIP on a reward's files, loaded by its own calls: what `gradproj verify` holds ours against."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL.Image import Image as Picture
from torch import Tensor
from transformers import CLIPModel, PreTrainedTokenizerFast

from gradproj.errors import UserError
from gradproj.pretrained.clip_tower import LENGTH, Prompts, Tower


@torch.no_grad()
def logits(
    tower: Tower[CLIPModel], words: Prompts, pictures: Sequence[Picture], prompts: Sequence[str]
) -> tuple[Tensor, float]:
    """``logits_per_image`` of each of b pictures with its prompt, (b,) float32 on the CPU, and the learnt scale.

    By CLIPModel, its image processor (PIL's resizing, as when the rewards were published) and the tokenizer's file, in
    float32. ``UserError`` where this transformers has no such processor.
    """
    try:
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    except ImportError as error:
        raise UserError(f"this transformers has no CLIPImageProcessorPil ({error}): install a newer one") from error
    network: Any = CLIPModel.from_pretrained(
        tower.files.fetch(), dtype=torch.float32, use_safetensors=True, local_files_only=True
    )
    network.eval().to(tower.device)
    size = tower.size
    processor = CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(words.file))
    found = torch.zeros(len(pictures))
    for prompt in dict.fromkeys(prompts):
        places = [index for index, other in enumerate(prompts) if other == prompt]
        read = tokenizer(prompt, truncation=True, max_length=LENGTH, return_tensors="pt")
        pixels = processor([pictures[index] for index in places], return_tensors="pt")["pixel_values"]
        told = {key: read[key].to(tower.device) for key in ("input_ids", "attention_mask")}
        found[places] = network(**told, pixel_values=pixels.to(tower.device)).logits_per_image[:, 0].cpu()
    return found, float(network.logit_scale.exp())
