"""What a first hour with the log would show.

Needs the events, the sessions and the counts of both fit windows, and the shop's item data where there are any; gives figures, a table
of key figures and all their numbers as JSON.
"""


rule draw_overview:
    input:
        events=collect("results/events/{part}.parquet", part=parts()),
        test_events=collect("results/events/{part}.parquet", part=parts(held_out=True)),
        quality=collect("results/events/{part}.quality.json", part=PARTS),
        sessions="results/sessions/sessions.parquet",
        catalogue="results/sessions/catalogue.parquet",
        summary="results/sessions/summary.json",
        select="results/fit/select/counts.json",
        final="results/fit/final/counts.json",
        exclusions="results/quality/exclusions.parquet",
        properties=item_data("properties"),
        categories=item_data("categories"),
    output:
        events=report(
            "results/report/overview/events.svg",
            caption="../report/overview_events.rst",
            category="Data",
            labels={"result": "events over time, funnel"},
        ),
        sessions=report(
            "results/report/overview/sessions.svg",
            caption="../report/overview_sessions.rst",
            category="Data",
            labels={"result": "session lengths, pauses and the gap"},
        ),
        repeats=report(
            "results/report/overview/repeats.svg",
            caption="../report/overview_repeats.rst",
            category="Data",
            labels={"result": "repeated clicks, returning visitors"},
        ),
        popularity=report(
            "results/report/overview/popularity.svg",
            caption="../report/overview_popularity.rst",
            category="Data",
            labels={"result": "popularity and sparsity"},
        ),
        new_items=report(
            "results/report/overview/items.svg",
            caption="../report/overview_items.rst",
            category="Data",
            labels={"result": "new items, category depth"},
        ),
        preparation=report(
            "results/report/overview/preparation.svg",
            caption="../report/overview_preparation.rst",
            category="Data",
            labels={"result": "what the preparation removed"},
        ),
        table=report(
            "results/report/overview/key_figures.csv",
            caption="../report/overview_key_figures.rst",
            category="Data",
            labels={"result": "key figures"},
        ),
        numbers="results/report/overview/overview.json",
    log:
        "results/logs/report/overview.log",
    benchmark:
        "results/benchmarks/report/overview.jsonl"
    conda:
        "../envs/draw_overview.yaml"
    threads: 2
    params:
        figures=lambda wildcards, output: str(Path(output.numbers).parent),
        test_events=options("--test-events", "test_events"),
        quality=options("--quality", "quality"),
        properties=options("--properties", "properties"),
        categories=options("--categories", "categories"),
        settings=settings(sessions=SECTIONS["sessions"]),
        code=code_digest("overview"),
    shell:
        "recsys overview {input.events:q} {params.test_events} {params.quality} --sessions {input.sessions:q}"
        " --catalogue {input.catalogue:q} --summary {input.summary:q} --select {input.select:q} --final {input.final:q}"
        " --exclusions {input.exclusions:q} {params.properties} {params.categories}"
        " --numbers {output.numbers:q} --table {output.table:q} --figures {params.figures:q} --settings {params.settings:q} > {log:q} 2>&1"
