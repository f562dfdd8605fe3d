"""The table of samplers. A new one is a step function and an entry here; everything else reads the entry."""

from dataclasses import replace

from ddemo.processes import SCHEDULES
from ddemo.sampling.samplers import adaptive, deterministic, latent, quotas, time_driven, uniform
from ddemo.sampling.samplers.definition import BY_STATE, FREE, Knob, Sampler
from ddemo.sampling.samplers.turn import Move, Turn

__all__ = ["KNOBS", "SAMPLERS", "Knob", "Move", "Sampler", "Turn", "of_process"]

ABSORBING, UNIFORM, GAUSSIAN = "absorbing", "uniform", "gaussian"
QUOTAS, TIMED, ADAPTIVE, DETERMINISTIC = "Quota each step", "Reverse-time noise", "As sure as it is", "Deterministic"
LATENT = "Moving latents"

SCHEDULE = Knob(
    "schedule", "linear", "Noise schedule", "how fast the share of noise falls with time", choices=tuple(SCHEDULES)
)
ORDER = Knob(
    "order_temperature", 0.0, "Order temperature", "noise in the choice of positions; 0 is the best ones", high=100.0
)
MASK_SCHEDULE = Knob(
    "mask_schedule",
    "cosine",
    "Mask schedule",
    "how many stay masked as steps go by",
    choices=tuple(quotas.MASK_SCHEDULES),
)
ETA = Knob("eta", 0.02, "Eta", "how readily tokens are masked again; 0 is never")
CLAMP = Knob(
    "clamp", "off", "Clamp", "nearest aims at the word nearest to the mean, not at the mean", choices=latent.CLAMPS
)

SAMPLERS = {
    sampler.name: sampler
    for sampler in (
        Sampler(
            "confidence",
            "LLaDA, low confidence",
            QUOTAS,
            "Drafts every mask at each step and keeps the drafts the model is surest of.",
            "Nie et al. 2025, LLaDA (arXiv 2502.09992)",
            {ABSORBING: quotas.confidence},
            ordered=True,
            ranks=True,
        ),
        Sampler(
            "random",
            "LLaDA, random order",
            QUOTAS,
            "Fills the same number of masks at each step, wherever chance points.",
            "Nie et al. 2025, LLaDA (arXiv 2502.09992)",
            {ABSORBING: quotas.random_order},
        ),
        Sampler(
            "left-to-right",
            "Left to right",
            QUOTAS,
            "Fills the leftmost masks, as an autoregressive model would.",
            "Ye et al. 2025, Dream (arXiv 2508.15487)",
            {ABSORBING: quotas.left_to_right},
            ordered=True,
        ),
        Sampler(
            "maskgit",
            "MaskGIT",
            QUOTAS,
            "Fills few masks first and many last, by confidence with noise that is annealed away.",
            "Chang et al. 2022, MaskGIT (arXiv 2202.04200)",
            {ABSORBING: quotas.maskgit},
            (replace(ORDER, default=4.5), MASK_SCHEDULE),
            ordered=True,
            ranks=True,
        ),
        Sampler(
            "dream-maskgit-plus",
            "Dream, MaskGIT plus",
            QUOTAS,
            "Keeps the drafts of the highest probability, a set share of the masks that are left.",
            "Ye et al. 2025, Dream (arXiv 2508.15487)",
            {ABSORBING: quotas.dream_maskgit_plus},
            (ORDER,),
            grid=time_driven.dream_grid,
            ordered=True,
            ranks=True,
        ),
        Sampler(
            "dream-margin",
            "Dream, top-k margin",
            QUOTAS,
            "Fills the masks where the likeliest token leads the second by most.",
            "Ye et al. 2025, Dream (arXiv 2508.15487)",
            {ABSORBING: quotas.dream_margin},
            (ORDER,),
            grid=time_driven.dream_grid,
            ordered=True,
            ranks=True,
        ),
        Sampler(
            "dream-entropy",
            "Dream, entropy",
            QUOTAS,
            "Fills the masks that the model is least undecided about.",
            "Ye et al. 2025, Dream (arXiv 2508.15487)",
            {ABSORBING: quotas.dream_entropy},
            (ORDER,),
            grid=time_driven.dream_grid,
            ordered=True,
            ranks=True,
        ),
        Sampler(
            "p2",
            "P2 path planning",
            QUOTAS,
            "Drafts everything at each step and masks the worst again, tokens written before included.",
            "Peng et al. 2025, P2 (arXiv 2502.03540)",
            {ABSORBING: quotas.path_planning},
            (
                replace(ETA, default=1.0, high=100.0),
                Knob("planner", "self", "Planner", "what says which are worst", choices=("self", "random")),
            ),
            reads=FREE,
            remasks=True,
            ordered=True,
            ranks=True,
        ),
        Sampler(
            "threshold",
            "Fast-dLLM, threshold",
            ADAPTIVE,
            "Fills all masks that the model is sure enough of, so that easy text takes few steps.",
            "Wu et al. 2025, Fast-dLLM (arXiv 2505.22618)",
            {ABSORBING: adaptive.threshold},
            (Knob("threshold", 0.9, "Threshold", "probability from which a token is kept"),),
            paced=BY_STATE,
            ordered=True,
            ranks=True,
        ),
        Sampler(
            "factor",
            "Fast-dLLM, factor",
            ADAPTIVE,
            "Fills as many masks together as their joint confidence allows.",
            "Wu et al. 2025, Fast-dLLM (arXiv 2505.22618)",
            {ABSORBING: adaptive.factor},
            (Knob("factor", 1.0, "Factor", "bound on (n + 1) (1 - the n-th confidence)", high=1000.0),),
            paced=BY_STATE,
            ordered=True,
            ranks=True,
        ),
        Sampler(
            "entropy-bounded",
            "EB, entropy-bounded",
            ADAPTIVE,
            "Fills masks together as long as their entropies add up to little.",
            "Ben-Hamu et al. 2025, EB-sampler (arXiv 2505.24857)",
            {ABSORBING: adaptive.entropy_bounded},
            (Knob("entropy_bound", 0.1, "Entropy bound", "nats that may be filled at once", high=1000.0),),
            paced=BY_STATE,
            ordered=True,
            ranks=True,
        ),
        Sampler(
            "ancestral",
            "MDLM, ancestral",
            TIMED,
            "Reverses the noise exactly: each mask has the same chance to be filled at each step.",
            "Sahoo et al. 2024, MDLM (arXiv 2406.07524)",
            {ABSORBING: time_driven.ancestral},
            (SCHEDULE,),
        ),
        Sampler(
            "first-hitting",
            "First hitting",
            TIMED,
            "The limit of infinitely many ancestral steps: one mask at a time, at the time it would be hit.",
            "Zheng et al. 2024 (arXiv 2409.02908)",
            {ABSORBING: time_driven.first_hitting},
            (SCHEDULE,),
            paced=BY_STATE,
            hits=True,
        ),
        Sampler(
            "sedd-analytic",
            "SEDD, analytic",
            TIMED,
            "Steps by score ratios in closed form (Tweedie), and denoises at the end.",
            "Lou et al. 2024, SEDD (arXiv 2310.16834)",
            {ABSORBING: time_driven.sedd_analytic, UNIFORM: uniform.analytic},
            (SCHEDULE,),
            grid=time_driven.sedd_grid,
            floor=time_driven.SEDD_FLOOR,
            extra_steps=1,
        ),
        Sampler(
            "sedd-euler",
            "SEDD, Euler",
            TIMED,
            "Steps by score ratios with Euler's rule, and denoises at the end.",
            "Lou et al. 2024, SEDD (arXiv 2310.16834)",
            {ABSORBING: time_driven.sedd_euler, UNIFORM: uniform.euler},
            (SCHEDULE,),
            grid=time_driven.sedd_grid,
            floor=time_driven.SEDD_FLOOR,
            extra_steps=1,
            differentiates=True,
        ),
        Sampler(
            "tau-leaping",
            "Tau-leaping",
            TIMED,
            "Lets every position jump at its rate over the whole stride, and denoises at the end.",
            "Campbell et al. 2022, tau-LDR (arXiv 2205.14987)",
            {ABSORBING: time_driven.tau_leaping, UNIFORM: uniform.tau_leaping},
            (SCHEDULE,),
            grid=time_driven.tau_grid,
            floor=time_driven.SEDD_FLOOR,
            extra_steps=1,
            differentiates=True,
        ),
        Sampler(
            "flow",
            "Discrete flow matching",
            TIMED,
            "Draws a target for every position and jumps there at the rate of the probability path.",
            "Gat et al. 2024 (arXiv 2407.15595)",
            {ABSORBING: time_driven.flow, UNIFORM: uniform.flow},
            (
                SCHEDULE,
                Knob("corrector", 0.0, "Corrector", "weight of the part that masks again and moves on", high=100.0),
            ),
            remasks=True,
            differentiates=True,
        ),
        Sampler(
            "dream-origin",
            "Dream, origin",
            TIMED,
            "Fills each mask with the chance that the passing time gives it.",
            "Ye et al. 2025, Dream (arXiv 2508.15487)",
            {ABSORBING: time_driven.dream_origin},
            grid=time_driven.dream_grid,
        ),
        Sampler(
            "remdm-cap",
            "ReMDM, cap",
            TIMED,
            "As ancestral, and masks tokens again at a small capped chance, so that mistakes can be taken back.",
            "Wang et al. 2025, ReMDM (arXiv 2503.00307)",
            {ABSORBING: time_driven.remdm_cap},
            (SCHEDULE, replace(ETA, default=0.008)),
            remasks=True,
        ),
        Sampler(
            "remdm-rescale",
            "ReMDM, rescale",
            TIMED,
            "As ancestral, and masks tokens again at a set share of the most that is possible.",
            "Wang et al. 2025, ReMDM (arXiv 2503.00307)",
            {ABSORBING: time_driven.remdm_rescale},
            (SCHEDULE, replace(ETA, default=0.015)),
            remasks=True,
        ),
        Sampler(
            "remdm-conf",
            "ReMDM, confidence",
            TIMED,
            "As ancestral, and masks again above all the tokens that were unlikely when they were written.",
            "Wang et al. 2025, ReMDM (arXiv 2503.00307)",
            {ABSORBING: time_driven.remdm_conf},
            (SCHEDULE, replace(ETA, default=1.0)),
            remasks=True,
        ),
        Sampler(
            "remdm-loop",
            "ReMDM, loop",
            TIMED,
            "Writes most of the text, rewrites parts of it for a while, then finishes.",
            "Wang et al. 2025, ReMDM (arXiv 2503.00307)",
            {ABSORBING: time_driven.remdm_loop},
            (
                ETA,
                Knob("t_on", 0.55, "Loop from", "the time at which rewriting begins"),
                Knob("t_off", 0.05, "Loop until", "the time at which it ends"),
                Knob("alpha_on", 0.9, "Share held", "the share of tokens that stands meanwhile"),
            ),
            remasks=True,
        ),
        Sampler(
            "uniform-ancestral",
            "Uniform, mean posterior",
            TIMED,
            "Reverses uniform noise exactly, averaging its posterior over what the model believes.",
            "Austin et al. 2021, D3PM (arXiv 2107.03006)",
            {UNIFORM: uniform.mean_posterior},
            (SCHEDULE,),
        ),
        Sampler(
            "uniform-joint",
            "Uniform, joint-weighted",
            TIMED,
            "Weighs what the model believes with the noise, as D3PM, multinomial diffusion and UDLM do.",
            "Austin et al. 2021, D3PM (arXiv 2107.03006)",
            {UNIFORM: uniform.joint_weighted},
            (SCHEDULE,),
        ),
        Sampler(
            "posterior-argmax",
            "Literal argmax of p(x_s | x_t)",
            DETERMINISTIC,
            "Takes the likeliest next state itself: masks stay until the last step, which fills all at once.",
            "Austin et al. 2021, D3PM (arXiv 2107.03006)",
            {ABSORBING: deterministic.posterior_argmax_of_masks, UNIFORM: deterministic.posterior_argmax_of_words},
            (SCHEDULE,),
            ordered=True,
            greedy=True,
        ),
        Sampler(
            "plug-in",
            "Plug-in posterior of argmax x0",
            DETERMINISTIC,
            "Takes the likeliest text for the truth and draws from the noise's posterior of it.",
            "Austin et al. 2021, D3PM (arXiv 2107.03006)",
            {ABSORBING: deterministic.plug_in_of_masks, UNIFORM: deterministic.plug_in_of_words},
            (SCHEDULE,),
            greedy=True,
        ),
        Sampler(
            "ddpm",
            "DDPM on embeddings",
            LATENT,
            "Moves every latent towards the mean of the words it may be, with fresh noise at each step.",
            "Ho et al. 2020, DDPM (arXiv 2006.11239)",
            {GAUSSIAN: latent.ddpm},
            (CLAMP,),
            draws=False,
        ),
        Sampler(
            "ddim",
            "DDIM on embeddings",
            LATENT,
            "Moves every latent straight towards the mean of the words it may be; only the first noise is drawn.",
            "Song et al. 2021, DDIM (arXiv 2010.02502)",
            {GAUSSIAN: latent.ddim},
            (CLAMP, replace(ETA, default=0.0, sentence="how much noise is drawn anew at each step; 1 is DDPM")),
            draws=False,
        ),
    )
}

KNOBS = tuple(dict.fromkeys(knob.name for sampler in SAMPLERS.values() for knob in sampler.knobs))


def of_process(process: str) -> list[Sampler]:
    """The samplers that reverse a noise process, in the table's order."""
    return [sampler for sampler in SAMPLERS.values() if process in sampler.processes]
