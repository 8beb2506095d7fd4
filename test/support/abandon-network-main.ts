/** Makes a network with a process in it, says its name, and waits to be killed. */
import { createNetwork } from './network.ts';

const network = await createNetwork({ name: 'abandoned' });
await network.addHost('a', ['10.90.0.1/24']);
network.spawn('a', 'sleeper', ['sleep', '60']);
process.stdout.write(JSON.stringify({ name: network.name, directory: network.directory }));
setTimeout(() => process.exit(1), 30_000);
