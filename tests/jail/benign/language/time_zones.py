# uses: the zone database, localtime
# out: 2024-07-01T14:00:00+02:00 2024-01-01T07:00:00-05:00 True
import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, available_timezones

summer = datetime(2024, 7, 1, 12, tzinfo=UTC).astimezone(ZoneInfo("Europe/Paris"))
winter = datetime(2024, 1, 1, 12, tzinfo=UTC).astimezone(ZoneInfo("America/New_York"))
print(summer.isoformat(), winter.isoformat(), len(available_timezones()) > 300)
time.tzset()
