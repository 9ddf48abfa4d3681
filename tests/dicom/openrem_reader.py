"""What OpenREM imports of dose reports, as JSON; run by the Python of the environment that holds OpenREM.

OpenREM keeps its settings and logs beside itself and its data in a database: here all of it is in a folder
that is given first, and in memory.
"""

import json
import os
import sys

folder, *reports = sys.argv[1:]
os.environ |= {"MEDIA_ROOT": folder, "STATIC_ROOT": folder, "LOG_ROOT": folder, "POSTGRES_DB": ":memory:"}

import openrem  # noqa: E402
from django.conf import settings  # noqa: E402  OpenREM reads the environment when it is imported

sys.path.insert(0, next(iter(openrem.__path__)))
os.environ["DJANGO_SETTINGS_MODULE"] = "openremproject.settings"
settings.MIGRATION_MODULES = {"remapp": None}  # the wheel has none; tables are made of the models

import django  # noqa: E402

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402

call_command("migrate", run_syncdb=True, verbosity=0)

from openrem.remapp.extractors.rdsr import rdsr  # noqa: E402
from remapp import models  # noqa: E402

for name in dir(models):
    if hasattr(getattr(models, name), "get_solo") and name != "SingletonModel":
        getattr(models, name).get_solo()  # settings that its web pages make at the first visit

TABLES = (
    *("generalstudymoduleattr", "observercontext", "accumintegratedprojradiogdose", "irradeventxraydata"),
    *("irradeventxraysourcedata", "irradeventxraydetectordata", "kvp", "exposure"),
    *("doserelateddistancemeasurements", "contextid"),
)


def rows(table):
    with connection.cursor() as cursor:
        # Plain SQL: the object mapper's conversions of dates differ between database versions.
        cursor.execute(f"SELECT * FROM remapp_{table} ORDER BY id")  # noqa: S608  names from above
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


answers = [rdsr(report) for report in reports]
print(json.dumps({"answers": answers, **{table: rows(table) for table in TABLES}}, default=str))  # noqa: T201
