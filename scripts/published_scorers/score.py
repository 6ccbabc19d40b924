# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
"""Scores pictures with the published code of one reward. scripts/parity.py starts it in .venv-official.

    score.py REWARD WEIGHTS_FOLDER PICTURES_FOLDER OUT.json

PICTURES_FOLDER holds 0.png, 1.png, ... and prompts.json. Writes {"scores": pictures x prompts, "tokens": one list a
prompt, "versions": {...}}. The weights are random, so whatever the packages would download is replaced, and nothing
else; each function says what.
"""

import functools
import importlib
import json
import os
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", CUDA_VISIBLE_DEVICES="")
warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402


def aesthetic(folder, pictures, prompts):
    """simple_inference.py of improved-aesthetic-predictor: OpenAI's clip, its preprocessing, the MLP.

    Replaced: clip.load, by its model class and its transform, with the weights renamed to OpenAI's layout.
    """
    import clip
    from ImageReward.models.AestheticScore import MLP  # image-reward carries the predictor's MLP class

    model, size, width = openai_clip(folder)
    preprocess = clip.clip._transform(size)
    mlp = MLP(width)
    mlp.load_state_dict(torch.load(folder / "sac+logos+ava1-l14-linearMSE.pth", weights_only=True))
    mlp.eval()
    scores = []
    for path in pictures:
        with torch.no_grad():
            features = model.encode_image(preprocess(Image.open(path)).unsqueeze(0)).numpy()
        norm = np.linalg.norm(features, 2, axis=-1, keepdims=True)
        norm[norm == 0] = 1
        with torch.no_grad():
            scores.append([mlp(torch.from_numpy(features / norm)).item()] * len(prompts))
    return scores, []


def openai_clip(folder):
    """The weights of a transformers CLIP in OpenAI's own class; also its input size and embedding width."""
    from clip.model import CLIP
    from safetensors.torch import load_file

    state = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    vision, text = config["vision_config"], config["text_config"]
    model = CLIP(
        embed_dim=config["projection_dim"],
        image_resolution=vision["image_size"],
        vision_layers=vision["num_hidden_layers"],
        vision_width=vision["hidden_size"],
        vision_patch_size=vision["patch_size"],
        context_length=77,
        vocab_size=text["vocab_size"],
        transformer_width=text["hidden_size"],
        transformer_heads=text["num_attention_heads"],
        transformer_layers=text["num_hidden_layers"],
    )
    new = {
        "logit_scale": state["logit_scale"],
        "text_projection": state["text_projection.weight"].T,
        "positional_embedding": state["text_model.embeddings.position_embedding.weight"],
        "token_embedding.weight": state["text_model.embeddings.token_embedding.weight"],
        "visual.proj": state["visual_projection.weight"].T,
        "visual.class_embedding": state["vision_model.embeddings.class_embedding"],
        "visual.positional_embedding": state["vision_model.embeddings.position_embedding.weight"],
        "visual.conv1.weight": state["vision_model.embeddings.patch_embedding.weight"],
    }
    for kind in ("weight", "bias"):
        new[f"ln_final.{kind}"] = state[f"text_model.final_layer_norm.{kind}"]
        new[f"visual.ln_pre.{kind}"] = state[f"vision_model.pre_layrnorm.{kind}"]
        new[f"visual.ln_post.{kind}"] = state[f"vision_model.post_layernorm.{kind}"]
        for half, prefix in (("text", "transformer"), ("vision", "visual.transformer")):
            for index in range(config[f"{half}_config"]["num_hidden_layers"]):
                old, block = f"{half}_model.encoder.layers.{index}", f"{prefix}.resblocks.{index}"
                parts = [state[f"{old}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
                new[f"{block}.attn.in_proj_{kind}"] = torch.cat(parts)
                new[f"{block}.attn.out_proj.{kind}"] = state[f"{old}.self_attn.out_proj.{kind}"]
                new[f"{block}.ln_1.{kind}"] = state[f"{old}.layer_norm1.{kind}"]
                new[f"{block}.ln_2.{kind}"] = state[f"{old}.layer_norm2.{kind}"]
                new[f"{block}.mlp.c_fc.{kind}"] = state[f"{old}.mlp.fc1.{kind}"]
                new[f"{block}.mlp.c_proj.{kind}"] = state[f"{old}.mlp.fc2.{kind}"]
    model.load_state_dict(new)
    return model.eval().float(), vision["image_size"], config["projection_dim"]


def pickscore(folder, pictures, prompts):
    """The model card of yuvalkirstain/PickScore_v1. Replaced: the two repository names. Not times 100."""
    from transformers import AutoModel, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    options = {"padding": True, "truncation": True, "max_length": 77, "return_tensors": "pt"}
    scores = []
    for path in pictures:
        image_inputs = processor(images=[Image.open(path)], **options)
        row = []
        for prompt in prompts:
            text_inputs = processor(text=prompt, **options)
            with torch.no_grad():
                image = model.get_image_features(**image_inputs)
                image = image / torch.norm(image, dim=-1, keepdim=True)
                text = model.get_text_features(**text_inputs)
                text = text / torch.norm(text, dim=-1, keepdim=True)
                row.append((text @ image.T)[0, 0].item())
        scores.append(row)
    return scores, [trim(processor.tokenizer(prompt, truncation=True, max_length=77).input_ids) for prompt in prompts]


def clip(folder, pictures, prompts):
    """logits_per_image of transformers' CLIPModel with CLIPProcessor. Replaced: the repository name."""
    from transformers import CLIPModel, CLIPProcessor

    processor, model = CLIPProcessor.from_pretrained(folder), CLIPModel.from_pretrained(folder).eval()
    options = {"padding": True, "truncation": True, "max_length": 77, "return_tensors": "pt"}
    scores = []
    for path in pictures:
        with torch.no_grad():
            logits = model(**processor(text=prompts, images=Image.open(path), **options)).logits_per_image
        scores.append(logits[0].tolist())
    return scores, [trim(processor.tokenizer(prompt, truncation=True, max_length=77).input_ids) for prompt in prompts]


def hpsv2(folder, pictures, prompts):
    """hpsv2.img_score.score. Replaced: initialize_model, which downloads LAION's weights only to overwrite them."""
    import hpsv2.img_score as official
    from hpsv2.src.open_clip import add_model_config, create_model_and_transforms, get_tokenizer

    description = folder / "architecture.json"
    add_model_config(description)
    model, _, preprocess = create_model_and_transforms(
        description.stem, precision="amp", device="cpu", light_augmentation=True, aug_cfg={}, output_dict=True,
        with_score_predictor=False, with_region_predictor=False,
    )  # fmt: skip
    official.model_dict.update(model=model, preprocess_val=preprocess)
    file = str(folder / "HPS_v2.1_compressed.pt")
    state = torch.load(file, map_location="cpu", weights_only=True)
    official.torch.load = lambda *_, **__: state  # it reads the file again for every picture
    scores = [[float(official.score(str(path), prompt, cp=file)[0]) for prompt in prompts] for path in pictures]
    return scores, [trim(row) for row in get_tokenizer("ViT-H-14")(prompts).tolist()]


def imagereward(folder, pictures, prompts):
    """ImageReward.load and score. Replaced: the tokenizer's repository (a folder of that name here), and, for small
    weights, the two sizes that the package fixes in code: the vision transformer's and the head's input."""
    folder = folder.resolve()
    os.chdir(folder)
    Path("bert-base-uncased").mkdir(exist_ok=True)
    for name in ("vocab.txt", "tokenizer_config.json"):
        Path("bert-base-uncased", name).write_bytes(Path(name).read_bytes())
    import ImageReward
    from ImageReward.models.BLIP import blip_pretrain
    from ImageReward.models.BLIP.vit import VisionTransformer

    state = torch.load("ImageReward.pt", weights_only=True)
    patch = state["blip.visual_encoder.patch_embed.proj.weight"].shape
    if patch[0] != 1024:
        positions = state["blip.visual_encoder.pos_embed"].shape[1] - 1
        depth = sum(key.startswith("blip.visual_encoder.blocks.") and key.endswith("norm1.bias") for key in state)
        size = patch[2] * round(positions**0.5)
        small = VisionTransformer(size, patch[2], embed_dim=patch[0], depth=depth, num_heads=patch[0] // 64)
        blip_pretrain.create_vit = lambda *_: (small, patch[0])
        module = importlib.import_module("ImageReward.ImageReward")
        width = state["mlp.layers.0.weight"].shape[1]
        module.MLP = functools.partial(lambda kind, _: kind(width), module.MLP)
    model = ImageReward.load("ImageReward.pt", device="cpu", med_config="med_config.json")
    missing = model.state_dict().keys() ^ state.keys()
    assert not missing, missing
    with torch.no_grad():
        scores = [[model.score(prompt, str(path)) for prompt in prompts] for path in pictures]
    options = {"padding": "max_length", "truncation": True, "max_length": 35}
    return scores, [trim(model.blip.tokenizer(prompt, **options).input_ids) for prompt in prompts]


def trim(tokens):
    """The tokens without the padding at their end."""
    tokens = list(tokens)
    while tokens and tokens[-1] == 0:
        tokens.pop()
    return tokens


def main():
    name, folder, where, out = sys.argv[1], *map(Path, sys.argv[2:])
    prompts = json.loads((where / "prompts.json").read_text(encoding="utf-8"))
    pictures = [path.resolve() for path in sorted(where.glob("*.png"), key=lambda path: int(path.stem))]
    out = out.resolve()
    torch.manual_seed(0)
    scores, tokens = globals()[name](folder, pictures, prompts)
    packages = ("torch", "torchvision", "transformers", "open_clip_torch", "hpsv2", "image-reward", "clip-anytorch")
    versions = {package: version(package) for package in (*packages, "pillow", "numpy", "timm")}
    out.write_text(json.dumps({"scores": scores, "tokens": tokens, "versions": versions}), encoding="utf-8")


if __name__ == "__main__":
    main()
