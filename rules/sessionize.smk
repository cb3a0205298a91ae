"""From events to sessions.

Needs every part's events, and the rows that checks remove; gives the sessions in the order of their start, the catalogue, and the
summary with the cut points. One job does it, by way of files where the log would not fit in its memory (mem_mb); with
`--set-scatter shard=8` eight jobs make the sessions of an eighth of the visitors each. The result is the same.
"""


scattergather:
    shard=1,


if len(gather.shard("{scatteritem}")) == 1:

    rule sessionize_events:
        input:
            events=collect("results/events/{part}.parquet", part=parts()),
            test_events=collect(
                "results/events/{part}.parquet", part=parts(held_out=True)
            ),
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
        resources:
            mem_mb=4000,
        params:
            test_events=options("--test-events", "test_events"),
            settings=settings(sessions=SECTIONS["sessions"], split=SECTIONS["split"]),
            code=code_digest("sessionize"),
        shell:
            "recsys sessionize {input.events:q} {params.test_events} --exclusions {input.exclusions:q} --sessions {output.sessions:q}"
            " --catalogue {output.catalogue:q} --summary {output.summary:q} --memory-limit {resources.mem_mb}MB --threads {threads}"
            " --settings {params.settings:q} > {log:q} 2>&1"

else:

    rule code_events:
        input:
            events=collect("results/events/{part}.parquet", part=parts()),
            test_events=collect(
                "results/events/{part}.parquet", part=parts(held_out=True)
            ),
            exclusions="results/quality/exclusions.parquet",
        output:
            coded=temp(directory("results/sessions/coded")),
        log:
            "results/logs/code.log",
        benchmark:
            "results/benchmarks/code.jsonl"
        conda:
            "../envs/code_events.yaml"
        threads: 16
        params:
            test_events=options("--test-events", "test_events"),
            settings=settings(sessions=SECTIONS["sessions"]),
            code=code_digest("code"),
        shell:
            "recsys code {input.events:q} {params.test_events} --exclusions {input.exclusions:q} --coded {output.coded:q}"
            " --settings {params.settings:q} > {log:q} 2>&1"

    rule sessionize_shard:
        input:
            coded="results/sessions/coded",
        output:
            shard=temp("results/sessions/shards/{scatteritem}.shard"),
        log:
            "results/logs/shards/{scatteritem}.log",
        benchmark:
            "results/benchmarks/shards/{scatteritem}.jsonl"
        conda:
            "../envs/sessionize_shard.yaml"
        threads: 16
        resources:
            mem_mb=4000,
        params:
            settings=settings(sessions=SECTIONS["sessions"]),
            code=code_digest("shard"),
        shell:
            "recsys shard {input.coded:q} --shard {wildcards.scatteritem:q} --output {output.shard:q} --threads {threads}"
            " --memory-limit {resources.mem_mb}MB --settings {params.settings:q} > {log:q} 2>&1"

    rule join_shards:
        input:
            coded="results/sessions/coded",
            shards=gather.shard("results/sessions/shards/{scatteritem}.shard"),
        output:
            sessions="results/sessions/sessions.parquet",
            catalogue="results/sessions/catalogue.parquet",
            summary="results/sessions/summary.json",
        log:
            "results/logs/sessionize.log",
        benchmark:
            "results/benchmarks/sessionize.jsonl"
        conda:
            "../envs/join_shards.yaml"
        threads: 16
        resources:
            mem_mb=4000,
        params:
            settings=settings(sessions=SECTIONS["sessions"], split=SECTIONS["split"]),
            code=code_digest("join"),
        shell:
            "recsys join {input.coded:q} {input.shards:q} --sessions {output.sessions:q} --catalogue {output.catalogue:q}"
            " --summary {output.summary:q} --memory-limit {resources.mem_mb}MB --threads {threads} --settings {params.settings:q}"
            " > {log:q} 2>&1"
