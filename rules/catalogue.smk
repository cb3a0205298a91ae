"""What the shop knows of its items.

Needs the source's item files and category tree, and a part's events, which say of what type item ids are; gives the items' properties by
time and the tree. Where the source has no item data there is no such rule; who needs a table asks `item_data`.
"""

if item_files("items", "properties", "categories"):

    rule build_catalogue:
        input:
            item_files=[file.path for file in item_files("items", "properties")],
            tree=[file.path for file in item_files("categories")],
            events=collect("results/events/{part}.parquet", part=parts()[:1]),
        output:
            properties="results/catalogue/properties.parquet",
            categories="results/catalogue/categories.parquet",
        log:
            "results/logs/catalogue.log",
        benchmark:
            "results/benchmarks/catalogue.jsonl"
        conda:
            "../envs/build_catalogue.yaml"
        threads: 2
        params:
            item_files=options("--items", "item_files"),
            tree=options("--tree", "tree"),
            settings=catalogue_settings,
            code=code_digest("catalogue"),
        shell:
            "recsys catalogue {params.item_files} {params.tree} --events {input.events:q} --properties {output.properties:q}"
            " --categories {output.categories:q} --settings {params.settings:q} > {log:q} 2>&1"
