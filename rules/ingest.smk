"""From raw files to events.

Needs a raw file a part; gives its events, the rows that were refused, and a quality report.
"""


rule ingest_part:
    input:
        raw=raw_file,
    output:
        events="results/events/{part}.parquet",
        quarantine="results/events/{part}.quarantine.parquet",
        quality="results/events/{part}.quality.json",
    log:
        "results/logs/ingest/{part}.log",
    benchmark:
        "results/benchmarks/ingest/{part}.jsonl"
    conda:
        "../envs/ingest_part.yaml"
    params:
        settings=ingest_settings,
        code=code_digest("ingest"),
    shell:
        "recsys ingest {input.raw:q} --events {output.events:q} --quarantine {output.quarantine:q}"
        " --quality {output.quality:q} --settings {params.settings:q} > {log:q} 2>&1"
