"""What follows from the configuration of a run, and how: the lines with which its log begins."""

from collections.abc import Iterator

from codeparrot.model.dropout import unasked
from codeparrot.objectives.objective import card_of, padding_of
from codeparrot.run.progress import Progress
from codeparrot.stream.entries import is_mixture
from codeparrot.stream.estimate import epoch_tokens
from codeparrot.training.parts import Training
from codeparrot.training.sources_read import planned
from codeparrot.training.strategy import strategy_name


def derived_values(
    training: Training, parameters: int, flops: tuple[int, int], peak: float, peak_source: str, begin: Progress
) -> Iterator[str]:
    """Yield lines that say what follows from the configuration, and how.

    Args:
        training: the parts of the run.
        parameters: of the model.
        flops: a token, as PaLM and as llm.c count them.
        peak: FLOP/s of all devices.
        peak_source: where that is from.
        begin: where this start begins.
    """
    config, world = training.config, training.accelerator.num_processes
    train, stream = config.train, config.stream
    batches, first = training.batches, training.batches.size(begin.step)
    tokens, whole = first * stream.seq_length, training.tokens_before(train.max_steps)
    yield f"run         {config.run_directory}" + (f", resumed at step {begin.step}" if begin.step else "")
    counts = (
        f"{flops[0] / 1e6:,.1f} MFLOPs a token for mfu (as PaLM counts), {flops[1] / 1e6:,.1f} for tflops_per_device (llm.c)"
    )
    size = f"{parameters:,} parameters, {counts}"
    yield f"model       {config.model['family']}, {size}"
    if training.source is not None:
        yield f"weights     {' @ '.join(filter(None, (training.source.name, training.source.revision)))} (model.from)"
    if dropout := unasked(config.model, training.settings):
        values = ", ".join(f"model.{name} {value:g}" for name, value in dropout.items())
        reason = "its masks differ with the number of processes, and the result does; 0 turns it off"
        whose = "the family" if training.source is None else "the source"
        yield f"dropout     {values}: {whose}'s own, which no setting names; {reason}"
    yield (
        f"batch       {first} windows = {'one process' if world == 1 else f'{world} processes'} x "
        f"{config.micro_batches(world, first)} micro-batches x "
        f"{train.micro_batch_size} windows; {tokens:,} tokens a step{_padding(training)}"
        + (f" ({batches}{_beyond(training)})" if len(batches.sizes) > 1 else "")
    )
    yield f"length      {train.max_steps:,} steps, {whole:,} tokens{_epochs(training, whole)}"
    yield f"stream      {stream.lanes} lanes, {_source(training, world)}"
    yield from planned(training)
    yield f"objective   {card_of(training.objective, stream.train)}{_of_windows(training)}"
    read, written = padding_of(training.objective, stream.seq_length)
    if read or written:
        yield f"            padding to the longest: {read:.0%} of what is read, {written:.0%} of what is written"
    if training.kind != "causal":
        without = "no samples, likelihood of solutions, pass@k or perplexity of text"
        words = "a masked model writes no text" if training.kind == "masked" else "spans are no text of their own"
        yield f"            {words}: {without}"
    device = training.accelerator.device.type
    yield f"strategy    {strategy_name(training.accelerator)}"
    because = f" ({training.precision.reason})" if training.precision.reason else ""
    yield f"compute     {train.precision}{because} on {world} x {device}, {peak / 1e12:.3g} TFLOP/s ({peak_source})"
    yield f"compile     {training.compiling.why}"
    if device == "cuda":
        yield f"attention   {training.attention()} (train.attention {train.attention})"


def _source(training: Training, world: int) -> str:
    """Say where windows come from, in which order, and what the blocks cost."""
    stream = training.config.stream
    before = all(each.tokenized for each in training.stream.sources)
    source = "tokenised before" if before else f"encoded by {training.stream.encoder.name}"
    if stream.order == "documents":
        apart = "; documents of a window do not see each other" if stream.document_mask else ""
        return f"{source}; windows in the order of the documents{apart}"
    size = 4 * stream.block_windows * stream.seq_length * stream.lanes / world / 1e6
    packing = "documents packed best-fit, " if stream.packing == "best_fit" else ""
    packing += "documents of a window do not see each other, " if stream.document_mask else ""
    return (
        f"{source}; {packing}windows shuffled in blocks of {stream.block_windows:,} a lane, {size:,.1f} MB of tokens a process"
    )


def _beyond(training: Training) -> str:
    """Name the sizes that no step of the run has: a child may end before its parent's schedule does."""
    last = training.config.train.max_steps
    first = next((begin + 1 for begin, _ in training.batches.stretches if begin >= last), None)
    return "" if first is None else f"; this run ends before step {first:,}"


def _padding(training: Training) -> str:
    return ", padding included" if training.config.stream.packing == "best_fit" else ""


def _of_windows(training: Training) -> str:
    """Say what a transform does to windows that were tokenised before."""
    if not any(source.tokenized and source.transform for source in training.stream.sources):
        return ""
    return " (the windows were tokenised without it: their documents are changed between tokens)"


def _epochs(training: Training, tokens: int) -> str:
    known = None if is_mixture(training.config.stream.train) else epoch_tokens(training.stream)
    if known is None:
        return ""
    count, exact = known
    per_epoch = count * training.config.train.max_steps / tokens
    return f", {tokens / count:.2f} epochs of {'' if exact else 'about '}{per_epoch:,.0f} steps"
