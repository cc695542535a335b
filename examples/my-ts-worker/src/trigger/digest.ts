import { schedules } from "@trigger.dev/sdk";

export const digest = schedules.task({
  id: "digest",
  cron: { pattern: "0 9 * * 1-5", timezone: "Europe/Berlin" },
  run: async ({ timestamp, lastTimestamp }) => ({ from: lastTimestamp, to: timestamp }),
});
