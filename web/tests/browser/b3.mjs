import { browser, close, crowd, inspect, says } from "./rig.mjs";
const ends = []; const t = { after: (e) => ends.unshift(e), diagnostic() {} };
try {
  const yard = await crowd(t, 50);
  const { gateway, gps, scanner } = yard;
  for (let n = 0; n < 60; n += 1) await scanner.scan(`PAL-${n}`);
  yard.drive();
  const context = await (await browser()).newContext({ viewport: { width: 1280, height: 800 } });
  const page = await context.newPage();
  const look = await inspect(page);
  await look.slow(6);
  await page.goto(`${gateway.url}/?view=live&asset=TRK-07`);
  await says(page, "#truth", "Live");
  await new Promise((d) => setTimeout(d, 6000));
  const b = await browser();
  await b.startTracing(page, { categories: ["devtools.timeline", "v8.execute", "disabled-by-default-devtools.timeline", "toplevel"] });
  await new Promise((d) => setTimeout(d, 10000));
  const buf = await b.stopTracing();
  const { traceEvents: ev } = JSON.parse(buf.toString());
  const tasks = ev.filter((e) => e.name === "RunTask" || e.name === "ThreadControllerImpl::RunTask").filter((e) => e.dur > 50000);
  const main = new Map(); for (const e of tasks) { const k = e.pid + ":" + e.tid; main.set(k, (main.get(k) ?? 0) + 1); }
  console.log([...main]);
  const names = ev.filter((e) => e.name === "thread_name").map((e) => `${e.pid}:${e.tid} ${e.args.name}`); console.log(names.join(", "));
  for (const task of tasks.sort((a, c) => c.dur - a.dur).slice(0, 12)) {
    const within = ev.filter((e) => e.ph === "X" && e.pid === task.pid && e.tid === task.tid && e.ts >= task.ts && e.ts + (e.dur ?? 0) <= task.ts + task.dur && e !== task && e.dur > 4000);
    console.log(task.name, (task.dur / 1000).toFixed(0), "cpu", (task.tdur / 1000).toFixed(0), within.sort((a, c) => a.ts - c.ts).map((e) => `${e.name} ${(e.dur / 1000).toFixed(0)} ${e.args?.data?.functionName ?? ""}${e.args?.elementCount ?? ""}${e.args?.beginData ? JSON.stringify(e.args.beginData.dirtyObjects)+"/"+e.args.beginData.totalObjects : ""}`).join(" | "));
  }
} finally { for (const e of ends) await e(); await close(); }
