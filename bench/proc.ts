/** What proc(5) says of a process, parsed. */

/**
 * User and system time of all threads, in clock ticks, from `/proc/<pid>/stat`; `withEnded`: and of its children that
 * have ended.
 */
export function cpuTicksOf(stat: string, withEnded = false): number {
  // The name of the program may contain spaces and brackets: fields count from its last bracket.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const ended = withEnded ? Number(fields[13]) + Number(fields[14]) : 0;
  const ticks = Number(fields[11]) + Number(fields[12]) + ended;
  if (!Number.isFinite(ticks)) throw new Error(`not a /proc/<pid>/stat: ${stat}`);
  return ticks;
}

/** A size in KiB from `/proc/<pid>/status`. */
export function kibOf(status: string, field: string): number {
  const found = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1];
  if (found === undefined) throw new Error(`no ${field} in /proc/<pid>/status`);
  return Number(found);
}

export type ProcessStat = { readonly pid: number; readonly stat: string };

/** Of many lines of `/proc/<pid>/stat`: a process and everything below it. */
export function processTree(stats: readonly string[], root: number): readonly ProcessStat[] {
  const all = stats.map((stat) => ({
    pid: Number.parseInt(stat, 10),
    parent: Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]),
    stat,
  }));
  const found = all.filter(({ pid }) => pid === root);
  for (const each of found) found.push(...all.filter(({ parent }) => parent === each.pid));
  if (found.length === 0) throw new Error(`no process ${root} among ${all.length}`);
  return found;
}
