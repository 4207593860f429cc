import { defineConfig } from "vitest/config";

// One browser, one page after the other: the machine has two cores.
export default defineConfig({
  test: { include: ["test/browser/**/*.test.ts"], testTimeout: 120_000, hookTimeout: 60_000, fileParallelism: false },
});
