"""A plain PyTorch training loop (nn.LSTM, fused Adam, clip_grad_norm_) that tuitrain is measured against.

Runs as a process of its own, because allocator and thread settings are per process. Prints characters per second, or
with `--progress` (until it is killed) a line with the Unix time and the number of steps about every quarter second.
"""

import argparse
import time
from pathlib import Path

from tuitrain.charlstm import runtime
from tuitrain.charlstm.config import Config
from tuitrain.charlstm.start import race
from tuitrain.engine import devices


def main() -> None:
    """Time the loop for `--seconds` after a warm-up."""
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--hidden", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--bptt", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--ours", action="store_true", help="with tuitrain's allocator, threads and precision")
    parser.add_argument("--progress", action="store_true", help="run until killed, and report progress")
    parser.add_argument("--precision", default="auto", help="with --ours: the number format, raced if auto")
    arguments = parser.parse_args()
    if arguments.ours:
        runtime.before_torch()
    import torch
    from torch import nn

    text = Path(arguments.corpus).read_text()
    known = {c: i for i, c in enumerate(sorted(set(text)))}
    device, precision = devices.pick("auto", lambda words: None), "fp32"
    if arguments.ours:
        names = ("layers", "hidden", "batch_size", "bptt", "precision")
        config = Config.of({name: getattr(arguments, name) for name in names})
        choice = runtime.aside(lambda: race.choose(config, device, len(known), lambda words: None))
        runtime.apply(choice.threads)
        precision = choice.precision
    ids = torch.tensor([known[c] for c in text], device=device)
    batch, bptt, hidden = arguments.batch_size, arguments.bptt, arguments.hidden
    streams = ids[: len(ids) // batch * batch].view(batch, -1)
    embedding = nn.Embedding(len(known), hidden).to(device)
    lstm = nn.LSTM(hidden, hidden, arguments.layers, batch_first=True).to(device)
    head = nn.Linear(hidden, len(known)).to(device)
    parameters = [*embedding.parameters(), *lstm.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, 3e-3, fused=True)

    state, steps, started, begin, reported = None, 0, 0.0, time.perf_counter(), 0.0
    while arguments.progress or not started or time.perf_counter() - started < arguments.seconds:
        at = steps % ((streams.shape[1] - 1) // bptt) * bptt
        inputs, targets = streams[:, at : at + bptt], streams[:, at + 1 : at + bptt + 1]
        with runtime.autocast(device, precision):
            out, state = lstm(embedding(inputs), state)
            logits = head(out)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        state = (state[0].detach(), state[1].detach())
        steps += 1
        if arguments.progress:
            if time.time() - reported > 0.25:
                reported = time.time()
                print(reported, steps, flush=True)  # noqa: T201 - the result
        elif not started and (steps >= 3 and time.perf_counter() - begin > 0.1 * arguments.seconds):
            if device == "cuda":
                torch.cuda.synchronize()
            started, steps = time.perf_counter(), 0
    if device == "cuda":
        torch.cuda.synchronize()
    print(steps * batch * bptt / (time.perf_counter() - started))  # noqa: T201 - the result


if __name__ == "__main__":
    main()
