"""Raw files.

Needs nothing; gives `results/raw/` where the source has to be fetched or generated. A user's own files stay where they are.
"""

if CONFIGURATION.source.type == "demo":

    rule download_log:
        output:
            raw=[part.path for part in PARTS.values()],
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
