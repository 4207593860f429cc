import { defineConfig } from "vite";

// Fixed names without a hash keep the committed diff small; the server sends an ETag.
export default defineConfig({
  base: "/",
  build: {
    target: "es2022",
    sourcemap: false,
    assetsInlineLimit: 0,
    cssCodeSplit: true,
    modulePreload: false,
    reportCompressedSize: false,
    rolldownOptions: {
      output: { entryFileNames: "app.js", chunkFileNames: "[name].js", assetFileNames: "[name][extname]" },
    },
  },
  server: { proxy: { "/api": { target: process.env["TRADEWATCH"] ?? "http://127.0.0.1:9090", ws: true } } },
});
