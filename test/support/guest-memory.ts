/** Where the memory of a User Mode Linux guest is kept: it is a file, mapped to be executed. */
import { readFileSync, statfsSync } from 'node:fs';

const MIB = 1 << 20;
/** Several guests start at once and fill their memory later; etcd's members have theirs at the same place. */
const ROOM_FOR_OTHERS = 1024 * MIB;
const SHARED_MEMORY = '/dev/shm';

/**
 * Arguments of env(1) for a guest: /dev/shm where there is room for it, which containers seldom have, or else
 * the first place that is not mounted `noexec`: the guest's own directory, or the one for what is kept longer.
 */
export function guestMemory(directory: string, memoryMb: number): readonly string[] {
  const places = hasRoom(memoryMb) ? [SHARED_MEMORY, directory] : [directory];
  const place = [...places, '/var/tmp'].find(mayExecute) ?? directory;
  return ['--unset=TMP', '--unset=TEMP', `TMPDIR=${place}`];
}

function hasRoom(memoryMb: number): boolean {
  try {
    const { bavail, bsize } = statfsSync(SHARED_MEMORY);
    return bavail * bsize > 2 * memoryMb * MIB + ROOM_FOR_OTHERS;
  } catch {
    return false; // It is not there.
  }
}

/** By the mount that a path is on: the longest of those that lead to it, and of several there the last. */
function mayExecute(path: string): boolean {
  let best = '';
  let options = '';
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    const [, , , , point = '', found = ''] = line.split(' ');
    const isAbove = point === '/' || path === point || path.startsWith(`${point}/`);
    if (!isAbove || point.length < best.length) continue;
    best = point;
    options = found;
  }
  return !options.split(',').includes('noexec');
}
