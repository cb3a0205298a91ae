"""Raw files.

Needs nothing; gives `results/raw/` where the source has to be fetched or generated. A user's own files stay where they are.
"""

if fetched_files(generated=True):

    rule download_log:
        output:
            raw=fetched_files(generated=True),
        log:
            "results/logs/download.log",
        benchmark:
            "results/benchmarks/download.jsonl"
        conda:
            "../envs/download_log.yaml"
        params:
            settings=settings(**SECTIONS["source"]),
            code=code_digest("download"),
        shell:
            "recsys download {output.raw:q} --settings {params.settings:q} > {log:q} 2>&1"

elif fetched_files(generated=False):

    wildcard_constraints:
        raw="|".join(
            re.escape(str(Path(path).relative_to(RAW_FOLDER)))
            for path in fetched_files(generated=False)
        ),

    # A job a file, told outside `params` where it is fetched from: neither a further file, nor a mirror, nor the code that fetches changes
    # what was published, so none of them fetches a file again.
    rule download_log:
        output:
            raw="results/raw/{raw}",
        log:
            "results/logs/download/{raw}.log",
        benchmark:
            "results/benchmarks/download/{raw}.jsonl"
        conda:
            "../envs/download_log.yaml"
        params:
            work="results/work/download",
        shell:
            "recsys download {output.raw:q} --work {params.work:q} --settings {FETCHING:q} > {log:q} 2>&1"
