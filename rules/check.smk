"""Quality of the log.

Needs every part's events and counts; gives what the checks found, the rows that they remove, and, with the counts of both fit windows,
figures of each part and of the whole log.
"""


rule check_log:
    input:
        events=collect("results/events/{part}.parquet", part=parts()),
        test_events=collect("results/events/{part}.parquet", part=parts(held_out=True)),
        quality=collect("results/events/{part}.quality.json", part=PARTS),
    output:
        checks="results/quality/checks.json",
        exclusions="results/quality/exclusions.parquet",
    log:
        "results/logs/check.log",
    benchmark:
        "results/benchmarks/check.jsonl"
    conda:
        "../envs/check_log.yaml"
    threads: 4
    params:
        test_events=options("--test-events", "test_events"),
        settings=settings(checks=SECTIONS["checks"]),
        code=code_digest("check"),
    shell:
        "recsys check {input.events:q} {params.test_events} --checks {output.checks:q} --exclusions {output.exclusions:q}"
        " --settings {params.settings:q} > {log:q} 2>&1"


rule draw_quality:
    input:
        events=collect("results/events/{part}.parquet", part=PARTS),
        quality=collect("results/events/{part}.quality.json", part=PARTS),
        checks="results/quality/checks.json",
        select="results/fit/select/counts.json",
        final="results/fit/final/counts.json",
    output:
        checks=report(
            "results/report/quality/checks.svg",
            caption="../report/quality_checks.rst",
            category="Quality",
            subcategory="All parts",
            labels={"result": "all checks"},
        ),
        refused=report(
            "results/report/quality/refused.svg",
            caption="../report/quality_refused.rst",
            category="Quality",
            subcategory="All parts",
            labels={"result": "refused rows by part"},
        ),
        volume=report(
            "results/report/quality/volume.svg",
            caption="../report/quality_volume.rst",
            category="Quality",
            subcategory="All parts",
            labels={"result": "events a day"},
        ),
        parts=[
            report(
                f"results/report/quality/parts/{part}.svg",
                caption="../report/quality_part.rst",
                category="Quality",
                subcategory="Each part",
                labels={"result": part},
            )
            for part in PARTS
        ],
        summary="results/quality/quality.json",
    log:
        "results/logs/quality.log",
    benchmark:
        "results/benchmarks/quality.jsonl"
    conda:
        "../envs/draw_quality.yaml"
    params:
        figures=subpath(output.checks, parent=True),
        code=code_digest("quality"),
    shell:
        "recsys quality {input.events:q} --checks {input.checks:q} --counts {input.select:q} --counts {input.final:q}"
        " --figures {params.figures:q} --summary {output.summary:q} > {log:q} 2>&1"
