"""One operator of one tool over a file of dialogues; ``peers.py`` starts it with the Python that has the tool.

``PYTHON peer_operators.py TOOL OPERATOR FILE FOLDER``. In: for ours a corpus of generate.py, for the others the same
dialogues as lines of ``{"id", "text"}``. Out: what is kept, under FOLDER/kept, in the form that the tool writes. One
process each; what a tool leaves open is set as its own documentation has it, or said here.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIMIT = 0.8
PERMUTATIONS = 128  # of every sketch but datatrove's, which is 14 buckets of 8
BANDS = (25, 5)  # ours; for text-dedup where it compares candidates exactly afterwards, as we do
RUN_OF_WORDS = 6  # whose repetition within a text is counted
NOT_A_WORD = r"[^\w\s]|_"
IN_ONE_PROCESS = {"num_proc": 1}


def ours(operator: str, given: Path, to: Path) -> None:
    """The step over the corpus, read as curation reads it."""
    from near_duplicates import drafts_of

    from attunement.near_duplicates import text_of
    from attunement.steps.duplicates import DuplicatesStep
    from attunement.steps.form import FormStep
    from attunement.steps.language import LanguageStep
    from attunement.steps.pii import PiiStep
    from attunement.steps.repair import RepairStep

    steps: dict[str, Callable[[], Any]] = {
        "near": lambda: DuplicatesStep(kind="duplicates", jaccard=LIMIT),
        "exact": lambda: DuplicatesStep(kind="duplicates", jaccard=None),
        "repair": lambda: RepairStep(kind="repair"),
        "repetition": lambda: FormStep(kind="form", min_turns=4, max_turns=20, max_turn_chars=4000,
                                       max_repeated_frac=0.3, drop_last_user=True),
        "pii": lambda: PiiStep(kind="pii"),
        "language": lambda: LanguageStep(kind="language", keep=("en",), min_score=0.6)}
    drafts = drafts_of(given)
    if operator != "none":
        steps[operator]().each(drafts)
    with (to / "kept.jsonl").open("w", encoding="utf-8") as out:
        for draft in drafts:
            if not draft.out:
                row = {"id": str(draft.line), "text": text_of(draft.turns)}
                out.write(json.dumps(row, ensure_ascii=False) + "\n")


def text_dedup(operator: str, given: Path, to: Path) -> None:
    """MinHash as it comes, or with our bands and its own exact comparison; exact copies by its Bloom filter."""
    from text_dedup.config.base import load_config_from_toml

    bands, rows = BANDS
    algorithms = {
        "near": f'algorithm_name = "minhash"\nnum_perm = {PERMUTATIONS}\nthreshold = {LIMIT}\nngram_size = 5',
        "exact": 'algorithm_name = "bloom_filter"\nerror_rate = 1e-5\nmax_elements = 100000'}
    algorithms["near, compared"] = f"{algorithms['near']}\nbands = {bands}\nrows = {rows}\ncheck_false_positive = true"
    settings = to / "config.toml"
    settings.write_text(f"""
        [input]
        input_type = "local_files"
        file_type = "json"
        [input.read_arguments]
        path = "json"
        data_files = "{given.as_posix()}"
        split = "train"
        [algorithm]
        {algorithms[operator]}
        text_column = "text"
        num_proc = 1
        [output]
        output_dir = "{(to / 'kept').as_posix()}"
        [debug]
        """, encoding="utf-8")
    if operator == "exact":
        from text_dedup.bloom_filter import main
    else:
        from text_dedup.minhash import main
    main(load_config_from_toml(settings))


def datatrove(operator: str, given: Path, to: Path) -> None:
    """Its pipelines, one task after the other."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.filters import GopherRepetitionFilter, LanguageFilter
    from datatrove.pipeline.formatters import FTFYFormatter, PIIFormatter
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter
    from datatrove.utils.lid import FT176LID

    FT176LID.MODEL_URL = os.environ.get("LANGUAGE_MODEL")  # a file here instead of one to fetch
    done = iter(range(100))

    def run(*steps: Any, tasks: int = 1) -> None:
        LocalPipelineExecutor(pipeline=list(steps), tasks=tasks, workers=1,
                              logging_dir=str(to / f"log{next(done)}")).run()

    reader = JsonlReader(str(given.parent), glob_pattern=given.name)
    writer = JsonlWriter(str(to / "kept"), compression=None)
    if operator == "near":
        _datatrove_near(run, reader, writer, to)
    elif operator == "exact":
        _datatrove_exact(run, reader, writer, to)
    else:
        steps: dict[str, Callable[[], list[Any]]] = {
            "none": list, "repair": lambda: [FTFYFormatter()], "pii": lambda: [PIIFormatter()],
            "repetition": lambda: [GopherRepetitionFilter()], "language": lambda: [LanguageFilter(["en"])]}
        run(reader, *steps[operator](), writer)


def _datatrove_near(run: Callable[..., None], reader: Any, writer: Any, to: Path) -> None:
    """14 buckets of 8 hashes, its default, which finds a pair at .8 with probability .92."""
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig

    config = MinhashConfig(n_grams=5)
    signatures, buckets, remove = (str(to / name) for name in ("signatures", "buckets", "remove"))
    run(reader, MinhashDedupSignature(signatures, config))
    run(MinhashDedupBuckets(signatures, buckets, config=config), tasks=config.num_buckets)
    run(MinhashDedupCluster(buckets, remove, config=config))
    run(reader, MinhashDedupFilter(remove), writer)


def _datatrove_exact(run: Callable[..., None], reader: Any, writer: Any, to: Path) -> None:
    from datatrove.pipeline.dedup import ExactDedupFilter, ExactDedupSignature, ExactFindDedups
    from datatrove.pipeline.dedup.exact_dedup import ExactDedupConfig

    def content(doc: Any) -> str:  # case and white space aside, as ours
        return " ".join(doc.text.lower().split())

    config = ExactDedupConfig(content_getter=content)
    signatures, found = str(to / "signatures"), str(to / "found")
    run(reader, ExactDedupSignature(signatures, config))
    run(ExactFindDedups(signatures, found, config))
    run(reader, ExactDedupFilter(found, config), writer)


def data_juicer(operator: str, given: Path, to: Path) -> None:
    """Its operators over its dataset, without the configuration and the tracer around them."""
    from data_juicer.core.data import NestedDataset
    from data_juicer.ops.deduplicator.document_deduplicator import DocumentDeduplicator
    from data_juicer.ops.deduplicator.document_minhash_deduplicator import DocumentMinhashDeduplicator
    from data_juicer.ops.filter.language_id_score_filter import LanguageIDScoreFilter
    from data_juicer.ops.filter.word_repetition_filter import WordRepetitionFilter
    from data_juicer.ops.mapper.clean_email_mapper import CleanEmailMapper
    from data_juicer.ops.mapper.clean_ip_mapper import CleanIpMapper
    from data_juicer.ops.mapper.fix_unicode_mapper import FixUnicodeMapper
    from datasets import load_dataset

    makers: dict[str, Callable[[], list[Any]]] = {
        "none": list,
        "near": lambda: [DocumentMinhashDeduplicator(
            tokenization="space", window_size=5, lowercase=True, ignore_pattern=NOT_A_WORD,
            num_permutations=PERMUTATIONS, jaccard_threshold=LIMIT, **IN_ONE_PROCESS)],
        "exact": lambda: [DocumentDeduplicator(lowercase=True, ignore_non_character=True, **IN_ONE_PROCESS)],
        "repair": lambda: [FixUnicodeMapper(**IN_ONE_PROCESS)],
        "repetition": lambda: [WordRepetitionFilter(rep_len=RUN_OF_WORDS, max_ratio=0.3, **IN_ONE_PROCESS)],
        "pii": lambda: [CleanEmailMapper(**IN_ONE_PROCESS), CleanIpMapper(**IN_ONE_PROCESS)],
        "language": lambda: [LanguageIDScoreFilter(lang="en", min_score=0.6, **IN_ONE_PROCESS)]}
    dataset = NestedDataset(load_dataset("json", data_files=str(given), split="train"))
    for step in makers[operator]():
        dataset = step.run(dataset)
    dataset.select_columns(["id", "text"]).to_json(str(to / "kept.jsonl"), force_ascii=False)


TOOLS = {"ours": ours, "text-dedup": text_dedup, "datatrove": datatrove, "Data-Juicer": data_juicer}

if __name__ == "__main__":
    TOOLS[sys.argv[1]](sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
