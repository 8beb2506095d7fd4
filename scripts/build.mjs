// Compiles src/ to dist/ and puts beside it what is not TypeScript; dist/ is replaced only by a whole build.
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const next = join(root, 'node_modules', '.leasehold-dist');
const dist = join(root, 'dist');

rmSync(next, { recursive: true, force: true });
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

rmSync(dist, { recursive: true, force: true });
renameSync(next, dist);
const bin = join(root, 'bin', 'leasehold');
if (existsSync(bin)) chmodSync(bin, 0o755);
