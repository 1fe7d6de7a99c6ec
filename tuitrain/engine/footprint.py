"""How much memory a run will need, from its configuration alone: told before anything is allocated."""

import psutil

from tuitrain.config import Config
from tuitrain.errors import UsageError

COPIES = 6
"""Of the parameters: themselves, gradients, two moments, and at least one snapshot of weights and moments (3, less what
they share) while a step is on its way."""
GATES = 4


def parameters(config: Config, characters: int) -> int:
    """The number of parameters of a CharLSTM for a vocabulary of so many characters."""
    hidden = config.hidden
    inputs = characters if config.embedding == "onehot" else int(config.embedding)
    table = 0 if config.embedding == "onehot" else characters * inputs
    lstm = sum(GATES * hidden * ((hidden if layer else inputs) + hidden + 2) for layer in range(config.layers))
    return table + lstm + characters * (hidden + 1)


def largest_checkpoint(config: Config, characters: int) -> int:
    """Bytes that no checkpoint of this run exceeds: at most three copies of the parameters, the hidden state, and
    what does not grow with the model."""
    carried = 2 * 4 * config.layers * config.batch_size * config.hidden
    return 2 * (4 * 4 * parameters(config, characters) + carried) + (64 << 20)


def needed(config: Config, characters: int) -> int:
    """Bytes that training takes at the least: copies of the parameters, and the activations of one step."""
    positions = config.batch_size * config.bptt
    outputs = characters * (positions if config.loss == "all" else config.batch_size)
    activations = positions * config.layers * config.hidden * (GATES + 2) + 3 * outputs
    return 4 * (COPIES * parameters(config, characters) + activations)


def check(config: Config, characters: int, device: str) -> None:
    """Raise UsageError with the numbers if the run cannot fit into the memory there is."""
    need, free = needed(config, characters), available(device)
    if need > free:
        raise UsageError(
            f"--layers {config.layers} --hidden {config.hidden} on {characters:,} characters: "
            f"{parameters(config, characters):,} parameters, to train them takes about {need / 1e9:.1f} GB and "
            f"{free / 1e9:.1f} GB of the {'machine' if device == 'cpu' else 'GPU'} are free; take fewer --layers, a "
            "smaller --hidden or a smaller --batch-size")


def snapshot_budget(config: Config, characters: int) -> int:
    """Bytes that restore points may take: what was asked for, else a twentieth of the host's memory.

    On a GPU they lie beside the model, and take a quarter of what is free there and not needed to train.
    """
    if config.snapshot_memory:
        return config.snapshot_memory << 20
    if config.device == "cpu":
        return int(psutil.virtual_memory().total // 20)
    return max(0, available(config.device) - needed(config, characters)) // 4


def available(device: str) -> int:
    """Bytes of memory that are free on a device."""
    if device != "cpu":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)
