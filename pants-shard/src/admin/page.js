// The script of the admin endpoint's page: asks for /stats.json once a second and shows it.
"use strict";
const PERIOD = 1000, PATIENCE = 4000, SAMPLES = 60, LANES_SHOWN_MAX = 16;
const $ = (id) => document.getElementById(id);
const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

// Numbers as text, each with its unit: [text, unit].
const grouped = (number) => Math.round(number).toLocaleString("en");
const digits = (number) => number.toFixed(number < 10 ? 2 : number < 100 ? 1 : 0);
const count = (number) => {
  if (number == null) return ["–", ""];
  if (number < 100000) return [grouped(number), ""];
  return number < 1e6 ? [digits(number / 1e3), "k"] : number < 1e9 ? [digits(number / 1e6), "M"] : [digits(number / 1e9), "G"];
};
const rate = (number) => {
  const [text, unit] = number > 0 && number < 9.95 ? [number.toFixed(1), ""] : count(number);
  return [text, number == null ? "" : unit + "/s"];
};
const bytes = (number, per = "") => {
  if (number == null) return ["–", ""];
  let unit = 0;
  for (; number >= 1000 && unit < 4; unit += 1) number /= 1024;
  return [unit ? digits(number) : grouped(number), ["B", "KiB", "MiB", "GiB", "TiB"][unit] + per];
};
const time = (seconds) => {
  if (!seconds) return ["–", ""];
  return seconds < 1e-3 ? [digits(seconds * 1e6), "µs"] : seconds < 1 ? [digits(seconds * 1e3), "ms"] : [digits(seconds), "s"];
};
const percent = (share) => share == null ? ["–", ""] : [(share * 100).toFixed(share < .0995 ? 1 : 0), "%"];
const ratio = (number) => [number.toFixed(2), ""];
const duration = (seconds) => {
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${Math.floor(seconds) % 60} s` : `${Math.floor(seconds)} s`;
};

// What each shard has said last.
const seen = new Map();
const people = (number) => number === 1 ? "one connection" : `${grouped(number)} connections`;

// The growth of a counter in a second, between two looks at one shard; null if there was none before.
const growth = (shard, of) => {
  const seconds = shard.before && shard.uptime_seconds - shard.before.uptime_seconds;
  return seconds > 0 ? Math.max(0, of(shard) - of(shard.before)) / seconds : null;
};
const grows = (name) => (shard) => growth(shard, (of) => of[name]);
const total = (name) => (stats) => sum(stats.shards.map((shard) => shard[name]));
const totalGrowth = (name) => (stats) => {
  const rates = stats.shards.map(grows(name)).filter((rate) => rate != null);
  return rates.length ? sum(rates) : null;
};
const busy = grows("cpu_seconds_total");
const turnTime = (shard) => busy(shard) / grows("turns_total")(shard) || null;
const movesAny = (stats) => total("connections_handed_out_total")(stats) > 0;
const stallsAny = (stats) => total("stalls_total")(stats) > 0;

const FIGURES = [
  ["Connections", total("connections_open"), count],
  ["Accepted", totalGrowth("connections_accepted_total"), rate],
  ["Received", totalGrowth("received_bytes_total"), (number) => bytes(number, "/s")],
  ["Sent", totalGrowth("sent_bytes_total"), (number) => bytes(number, "/s")],
  ["Busy, mean", (stats) => {
    const shares = stats.shards.map(busy).filter((share) => share != null);
    return shares.length ? sum(shares) / shares.length : null;
  }, percent],
  ["Skew", (stats) => stats.connection_skew_ratio, ratio],
];
// With the width that the longest unit takes, so that the numbers stand below one another, and when they are shown, if not always.
const COLUMNS = [
  ["Connections", (shard) => shard.connections_open, count, "0"],
  ["Accepted", grows("connections_accepted_total"), rate, "1.5rem"],
  ["Reads", grows("reads_total"), rate, "1.5rem"],
  ["Received", grows("received_bytes_total"), (number) => bytes(number, "/s"), "2.4rem"],
  ["Sent", grows("sent_bytes_total"), (number) => bytes(number, "/s"), "2.4rem"],
  ["Turn", turnTime, time, "1.4rem"],
  ["Moved in", grows("connections_handed_in_total"), rate, "1.1rem", movesAny],
  ["Moved out", grows("connections_handed_out_total"), rate, "1.1rem", movesAny],
  ["Stalls", (shard) => shard.stalls_total, count, "0", stallsAny],
];
const BUS = [
  ["Sent", totalGrowth("bus_sent_total"), rate],
  ["Received", totalGrowth("bus_received_total"), rate],
  ["From other threads", totalGrowth("bus_received_from_outside_total"), rate],
  ["Shards woken", totalGrowth("bus_wakes_total"), rate],
  ["Waited, lane full", total("bus_overflowed_total"), count],
  ["Refused, lane full", total("bus_full_total"), count, true],
];

const write = (cell, [text, unit]) => {
  cell.textContent = text;
  const small = document.createElement("small");
  small.textContent = unit;
  cell.append(small);
};
const element = (name, parent, text = "") => {
  const made = document.createElement(name);
  made.textContent = text;
  parent.append(made);
  return made;
};

const figures = FIGURES.map(([name, of, format]) => {
  const card = $("figure").content.cloneNode(true).firstElementChild;
  card.querySelector("span").textContent = name;
  $("figures").append(card);
  return { card, of, format, past: [] };
});

const draw = ({ card, past, of, format }, stats) => {
  const value = of(stats);
  write(card.querySelector("b"), format(value));
  if (value == null) return;
  past.push(value);
  if (past.length > SAMPLES) past.shift();
  const top = Math.max(...past) || 1;
  const points = past.map((value, at) => `${(100 - (past.length - 1 - at) * 100 / (SAMPLES - 1)).toFixed(1)},${(27 - value / top * 25).toFixed(1)}`);
  card.querySelector("polyline").setAttribute("points", points.join(" "));
  const first = points[0].split(",")[0];
  card.querySelector("polygon").setAttribute("points", `${first},28 ${points.join(" ")} 100,28`);
};

const showShards = (stats) => {
  const head = document.querySelector("#shards thead tr"), body = document.querySelector("#shards tbody");
  head.replaceChildren();
  body.replaceChildren();
  const columns = COLUMNS.filter(([, , , , isShown]) => !isShown || isShown(stats));
  element("th", head, "Shard");
  element("th", head, "Busy").className = "load";
  for (const [label] of columns) element("th", head, label);
  const all = [...stats.shards, ...stats.missing.map((shard) => ({ shard, missing: true }))].sort((a, b) => a.shard - b.shard);
  for (const shard of all) {
    const row = element("tr", body);
    const name = element("th", row, `shard-${shard.shard}`);
    if (shard.missing) {
      row.className = "missing";
      const before = seen.get(shard.shard);
      const cell = element("td", row, before ? `does not answer; it had ${people(before.connections_open)}` : "does not answer");
      [cell.className, cell.colSpan] = ["load", columns.length + 1];
      continue;
    }
    element("small", name, shard.cpu == null ? "not pinned" : `CPU ${shard.cpu}`);
    const share = busy(shard);
    const load = element("td", row);
    load.className = "load";
    const bar = element("div", load);
    bar.className = "bar";
    element("i", bar).style.setProperty("--share", `${Math.min(1, share ?? 0) * 100}%`);
    element("span", bar, percent(share).join(" "));
    for (const [label, of, format, unit] of columns) {
      const cell = element("td", row);
      cell.style.setProperty("--unit", unit);
      cell.dataset.label = label;
      cell.className = label === "Stalls" && of(shard) ? "bad" : "";
      write(cell, format(of(shard)));
    }
  }
};

const list = (id, rows) => {
  const body = document.querySelector(`#${id} tbody`);
  body.replaceChildren();
  for (const [name, value, bad] of rows) {
    const row = element("tr", body);
    row.className = bad ? "bad" : "";
    element("td", row, name);
    write(element("td", row), value);
  }
};

const showBus = (stats) => {
  list("bus", BUS.map(([name, of, format, isBad]) => [name, format(of(stats)), isBad && of(stats) > 0]));
  const lanes = stats.shards.length > 1 && stats.shards.length <= LANES_SHOWN_MAX;
  $("lanes").hidden = !lanes;
  if (!lanes) return;
  const head = document.querySelector("#matrix thead tr"), body = document.querySelector("#matrix tbody");
  head.replaceChildren();
  body.replaceChildren();
  element("th", head);
  for (const to of stats.shards) element("th", head, `to ${to.shard}`);
  const carried = stats.shards.map((from) => stats.shards.map((to) => growth(to, (of) => of.bus_received_from[from.shard])));
  const most = Math.max(...carried.flat());
  stats.shards.forEach((from, index) => {
    const row = element("tr", body);
    element("th", row, `shard-${from.shard}`);
    for (const value of carried[index]) {
      const cell = element("td", row, count(value).join(" "));
      cell.className = value ? "" : "zero";
      cell.style.setProperty("--share", value ? `${value / most * 100}%` : "0%");
    }
  });
};

const showTotals = (stats) => {
  const closed = {};
  for (const shard of stats.shards) {
    for (const [reason, count] of Object.entries(shard.connections_closed_total)) closed[reason] = (closed[reason] || 0) + count;
  }
  const { finished, ...others } = closed;
  const lateness = sum(stats.shards.map((shard) => shard.timer_lateness_seconds_sum));
  const late = lateness / total("timer_lateness_seconds_count")(stats);
  const rows = [
    ["Accepted", count(total("connections_accepted_total")(stats))],
    ["Closed: finished", count(finished)],
    ...Object.entries(others).sort().filter(([, number]) => number > 0)
      .map(([reason, number]) => [`Closed: ${reason.replaceAll("_", " ")}`, count(number), reason === "panicked"]),
    ["Received", bytes(total("received_bytes_total")(stats))],
    ["Sent", bytes(total("sent_bytes_total")(stats))],
    ["Timers late, mean", time(late)],
  ];
  if (movesAny(stats)) rows.splice(1, 0, ["Moved to other shards", count(total("connections_handed_out_total")(stats))]);
  const troubles = [["Refused", "connections_refused_total"], ["Failed accepts", "accept_errors_total"],
    ["Dropped datagrams", "datagrams_dropped_total"], ["Panics", "panics_total"], ["Stalls", "stalls_total"]];
  for (const [name, of] of troubles) {
    const number = total(of)(stats);
    if (number > 0) rows.push([name, count(number), true]);
  }
  list("totals", rows);
};

const notice = (text, kind = "") => {
  [$("notice").textContent, $("notice").className, $("notice").hidden] = [text, kind, !text];
};
const warn = (stats) => {
  const told = stats.missing.map((shard) => {
    const heard = seen.get(shard)?.uptime_seconds ?? 0;
    return `shard-${shard} has not answered for ${duration(stats.uptime_seconds - heard)}.`;
  });
  if (told.length) told.push("The numbers are those of the other shards.");
  const left = people(total("connections_open")(stats));
  if (stats.stage === "draining") told.unshift(`The program drains: it accepts nobody, and sees ${left} out.`);
  notice(told.join(" "), stats.missing.length ? "" : stats.stage);
};

let uptime = 0;
const show = (stats) => {
  // A program that was started anew begins again.
  if (stats.uptime_seconds < uptime) {
    seen.clear();
    for (const figure of figures) figure.past.length = 0;
  }
  uptime = stats.uptime_seconds;
  for (const shard of stats.shards) shard.before = seen.get(shard.shard);
  $("state").textContent = stats.stage;
  $("state").className = `state ${stats.stage}`;
  $("version").textContent = `version ${stats.version}`;
  $("uptime").textContent = `up ${duration(stats.uptime_seconds)}`;
  for (const figure of figures) draw(figure, stats);
  showShards(stats);
  showBus(stats);
  showTotals(stats);
  warn(stats);
  for (const shard of stats.shards) {
    delete shard.before;
    seen.set(shard.shard, shard);
  }
};

let heard = "";
const look = async () => {
  const next = performance.now() + PERIOD;
  if (!document.hidden) {
    try {
      const response = await fetch("stats.json", { signal: AbortSignal.timeout(PATIENCE) });
      if (!response.ok) throw new Error(response.status);
      show(await response.json());
      heard = ` since ${new Date().toLocaleTimeString()}`;
      document.body.className = "";
    } catch {
      $("state").textContent = "no answer";
      $("state").className = "state gone";
      notice(`The server has not answered${heard}. It is asked again every second.`);
      document.body.className = "stale";
    }
  }
  setTimeout(look, Math.max(100, next - performance.now()));
};
$("name").textContent = location.host;
document.title = `${location.host} – Pants`;
look();
