// Compiles src/ to dist/ and puts beside it what is not TypeScript; dist/ is replaced only by a whole build.
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync } from 'node:fs';
import { readdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
// A place of its own for each build: two at once must not mix their files.
const next = mkdtempSync(join(root, 'node_modules', '.leasehold-dist-'));
const dist = join(root, 'dist');

const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
const compiled = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.json', '--outDir', next], {
  cwd: root,
  stdio: 'inherit',
});
if (compiled.status !== 0) {
  rmSync(next, { recursive: true, force: true });
  process.stderr.write('build: the compiler reported errors; dist/ is as it was\n');
  process.exit(1);
}

// Data files of src/ go along, at the same place.
for (const file of readdirSync(join(root, 'src'), { recursive: true, withFileTypes: true })) {
  if (!file.isFile() || /\.(ts|md)$/.test(file.name)) continue;
  const from = join(file.parentPath ?? file.path, file.name);
  const to = join(next, from.slice(join(root, 'src').length));
  mkdirSync(dirname(to), { recursive: true });
  cpSync(from, to);
}

replaceDist();
const bin = join(root, 'bin', 'leasehold');
if (existsSync(bin)) chmodSync(bin, 0o755);

/** The old dist/ moves aside and the new one into its place; of two builds at once one of them wins, whole. */
function replaceDist() {
  for (let tries = 0; ; tries += 1) {
    const old = `${next}-old`;
    try {
      if (existsSync(dist)) renameSync(dist, old);
      renameSync(next, dist);
      rmSync(old, { recursive: true, force: true });
      return;
    } catch (error) {
      // Another build was between its two renames.
      rmSync(old, { recursive: true, force: true });
      if (tries === 10) throw error;
    }
  }
}
