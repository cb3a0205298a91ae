"""From events to sessions.

Needs every part's events, and the rows that checks remove; gives the sessions in the order of their start, the catalogue, and the
summary with the cut points.
"""


rule sessionize_events:
    input:
        events=collect("results/events/{part}.parquet", part=parts()),
        test_events=collect("results/events/{part}.parquet", part=parts(held_out=True)),
        exclusions="results/quality/exclusions.parquet",
    output:
        sessions="results/sessions/sessions.parquet",
        catalogue="results/sessions/catalogue.parquet",
        summary="results/sessions/summary.json",
    log:
        "results/logs/sessionize.log",
    benchmark:
        "results/benchmarks/sessionize.jsonl"
    conda:
        "../envs/sessionize_events.yaml"
    threads: 16
    params:
        test_events=options("--test-events", "test_events"),
        settings=settings(sessions=SECTIONS["sessions"], split=SECTIONS["split"]),
        code=code_digest("sessionize"),
    shell:
        "recsys sessionize {input.events:q} {params.test_events} --exclusions {input.exclusions:q} --sessions {output.sessions:q}"
        " --catalogue {output.catalogue:q} --summary {output.summary:q} --threads {threads} --settings {params.settings:q} > {log:q} 2>&1"
