/** What proc(5) says of a process, parsed. */

/** User and system time of all threads, in clock ticks, from `/proc/<pid>/stat`. */
export function cpuTicksOf(stat: string): number {
  // The name of the program may contain spaces and brackets: fields count from its last bracket.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const ticks = Number(fields[11]) + Number(fields[12]);
  if (!Number.isFinite(ticks)) throw new Error(`not a /proc/<pid>/stat: ${stat}`);
  return ticks;
}

/** A size in KiB from `/proc/<pid>/status`. */
export function kibOf(status: string, field: string): number {
  const found = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1];
  if (found === undefined) throw new Error(`no ${field} in /proc/<pid>/status`);
  return Number(found);
}
