"""Diffusion language models that are known by name and not read here."""

REASONS = {  # by the beginning of model_type or of an architecture, in small letters and without "_" and "-"
    "lladamoe": "LLaDA-MoE, whose layers are a mixture of experts",
    "llada2moe": "LLaDA 2.0, a mixture of experts with block diffusion",
    "llada21moe": "LLaDA 2.1, a mixture of experts with block diffusion and editing",
    "rnd1": "RND1, whose layers are a mixture of experts",
    "mmada": "MMaDA, which reads and makes images, too",
    "llavallada": "a LLaDA for images and text, such as LLaDA-V",
    "sdar": "SDAR, whose blocks are denoised from a cache of keys and values",
    "diffusiongemma": "DiffusionGemma, which conditions on its own last answer",
    "fastdllm": "Fast-dLLM, whose network is built around its cache",
    "dreamforcausallm": "DreamReasoner, which denoises in blocks and does not shift its logits",
    "editflow": "a dLLM Edit Flow, which inserts and deletes tokens",
}


def known_but_not_read(config: dict) -> str:
    """What a config.json describes, as the end of "this is ..."; "" for what is not known by name."""
    architectures = config.get("architectures")
    named = [config.get("model_type"), *(architectures if isinstance(architectures, list) else [])]
    plain = [name.lower().replace("_", "").replace("-", "") for name in named if isinstance(name, str)]
    for start, reason in REASONS.items():
        if any(name.startswith(start) for name in plain):
            return reason
    if "llada" in plain and "num_experts" in config:
        return REASONS["lladamoe"]
    return REASONS["dreamforcausallm"] if "dream" in plain and "block_size" in config else ""
