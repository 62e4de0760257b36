// Makes `npx kvorum` and `npm exec kvorum` work inside a checkout: npm links the commands of dependencies into node_modules/.bin, but not those of the
// project itself. Run at the end of every build; does nothing where there is no node_modules.
import { chmodSync, existsSync, mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const command = join(root, 'build/src/cli/main.js');
const folder = join(root, 'node_modules/.bin');
const link = join(folder, 'kvorum');

chmodSync(command, 0o755);
if (existsSync(join(root, 'node_modules'))) {
  mkdirSync(folder, { recursive: true });
  rmSync(link, { force: true });
  if (process.platform !== 'win32') symlinkSync(relative(folder, command), link);
}
